"""cases/make.py: the data of the cases that were not drawn from a [generate] table can be made again."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from bridge import data
from bridge.case import Case, discover
from bridge.resources import find

CASES = find("cases")


def script() -> ModuleType:
    """cases/make.py, which no package holds."""
    spec = importlib.util.spec_from_file_location("make", CASES / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = script()


def same(name: str) -> bool:
    """Whether the table made now is the one stored."""
    frame = data.normalise(MAKE.MAKERS[name](), name)
    return data.content_hash(frame) == Case.load(CASES / name).data_hash


@pytest.mark.parametrize("name", sorted(set(MAKE.MAKERS) - MAKE.FROM_R))
def test_made_again(name: str) -> None:
    """The script would make other data than those stored, and nobody could say where these are from."""
    assert same(name)


@pytest.mark.needs_r
@pytest.mark.parametrize("name", ["lme4-17-false-zero", "lme4-241-koller", "pixel", "ovary"])
def test_made_again_from_r(name: str) -> None:
    """R's seed, a package's table or a column computed in R would not give the stored data."""
    assert same(name)


def test_no_maker_is_without_a_case() -> None:
    """The script would make data that no case has, or a case be called what no table says."""
    assert set(MAKE.MAKERS) <= {case.id for case in discover(CASES)}


def test_what_differs_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is no longer the stored one would be passed over in silence."""
    monkeypatch.setitem(MAKE.MAKERS, "whole-numbers", MAKE.MAKERS["two-clusters"])
    assert MAKE.main(["whole-numbers", "two-clusters"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "whole-numbers: DIFFERS from case.toml",
        "two-clusters: as stored",
    ]

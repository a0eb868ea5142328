"""``lmmbridge certify``: made, proven again, and every way in which what is there does not hold."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from bridge import certificate, certification, data
from bridge.case import Case
from bridge.certificate import Certificate
from bridge.cli import app
from bridge.resources import find
from tests.front import FORMULA, clusters


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with one case in it, not certified."""
    monkeypatch.chdir(tmp_path)
    add("mine", clusters())
    return tmp_path


@pytest.fixture
def certified(here: Path) -> Path:
    """Its certified.parquet."""
    assert call("certify").exit_code == 0
    return here / "cases/mine/certified.parquet"


def add(name: str, frame: pd.DataFrame, **fields: object) -> Case:
    """A case in ./cases."""
    about = {"title": "t", "formula": FORMULA, "methods": ["REML", "ML"], "source": "s", "licence": "l"}
    return Case.create("cases", name, about | fields, frame)


def call(*arguments: str) -> Result:
    """``lmmbridge`` with these arguments."""
    return CliRunner().invoke(app, list(arguments))


def mine() -> Case:
    """The case as it is now."""
    return Case.load("cases/mine")


def test_made_and_proven_again(here: Path) -> None:
    """No file would be written, a line would lack a word, or --check would write."""
    assert mine().certificates() == {}
    done = call("certify")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[:5] for line in lines[:2]] == [
        ["✓", "mine", method, "ok", "global"] for method in ("REML", "ML")
    ]
    assert "30 digits" in lines[0]
    assert lines[2] == "2 certificates: all made"
    assert set(mine().certificates()) == {"REML", "ML"}
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    done = call("certify", "mine", "--check")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "2 certificates: all hold"
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == before


def test_bundled_certificates_are_of_the_bundled_cases() -> None:
    """A shipped certificate would be missing or out of date, or the bundled files would grow."""
    for case in (Case.load(path.parent) for path in find("cases").glob("*/case.toml")):
        made = case.certificates()
        assert set(made) == set(case.spec.methods), case.id
        for one in made.values():
            assert certification.against(case, one) == ""
            assert certification.digits(one) == (30 if one.rows else 0)
        most = 1_500_000 if "slow" in case.spec.tags else 25_000
        assert (case.folder / "certified.parquet").stat().st_size < most, case.id


def other_data() -> str:
    """The data and their hash change, as when a case is mended."""
    frame = data.normalise(clusters().assign(y=lambda d: d["y"] + (d.index == 0)))
    data.write(frame, "cases/mine/data.parquet")
    mine().save(data={"file": "data.parquet", "hash": data.content_hash(frame), "rows": len(frame)})
    return "data: hash"


def other_formula() -> str:
    """The data stay; the model is another, with labels of the same name."""
    mine().save(formula="y ~ 1 + x + (1 | g)")
    return "formula: "


def other_expectation() -> str:
    """case.toml says what the data do not."""
    mine().save(expect="singular")
    return "case.toml says singular, the data are ok"


def gone() -> str:
    """The file is removed."""
    Path("cases/mine/certified.parquet").unlink()
    return "missing; lmmbridge certify mine"


def one_method() -> str:
    """Only REML is left."""
    path = Path("cases/mine/certified.parquet")
    certificate.write(path, certificate.read(path)[:1])
    return "missing; lmmbridge certify mine"


def digit() -> str:
    """One digit of one number is changed, in decimal and double."""

    def spoil(made: Certificate) -> Certificate:
        at = next(i for i, row in enumerate(made.rows) if row.effect == "ran_pars")
        number = made.rows[at].number
        value = number.value[:5] + str((int(number.value[5]) + 1) % 10) + number.value[6:]
        row = replace(made.rows[at], number=replace(number, value=value, double=float(value)))
        return replace(made, rows=(*made.rows[:at], row, *made.rows[at + 1 :]))

    path = Path("cases/mine/certified.parquet")
    certificate.write(path, map(spoil, certificate.read(path)))
    return "is not the proven"


@pytest.mark.parametrize("change", [other_data, other_formula, other_expectation, gone, one_method, digit])
def test_check_names_what_fails(certified: Path, change: Callable[[], str]) -> None:
    """A certificate of something else, or a number tampered with, would be believed."""
    says = change()
    done = call("certify", "--check")
    assert done.exit_code == 1, done.output
    assert "✗ mine" in done.stdout
    assert says in done.stdout
    assert "do not hold" in done.stdout
    if change not in (other_expectation, digit):
        assert len(mine().certificates()) == (1 if change is one_method else 0)
    if change is other_expectation:
        assert call("certify").exit_code == 1
    else:
        assert call("certify").exit_code == 0
        assert call("certify", "--check").exit_code == 0


def test_ill_posed_cases_say_why(here: Path) -> None:
    """An ill-posed case would end the run, or its certificate would give numbers or no reason."""
    add("flat", clusters().assign(g="a"), expect="refused")
    add("same", clusters().assign(z=lambda d: d["x"]), formula="y ~ x + z + (1 | g)", expect="unidentified")
    done = call("certify")
    assert done.exit_code == 0, done.output
    for name, words in {"flat": "one level", "same": "z"}.items():
        for one in Case.load(f"cases/{name}").certificates().values():
            assert (one.status, one.rows) == ("unidentified", ())
            assert words in one.why
            assert one.why in done.stdout
    assert call("certify", "--check").exit_code == 0
    Case.load("cases/same").save(expect="ok")
    done = call("certify", "--check", "same")
    assert done.exit_code == 1
    assert "case.toml says ok, the data are unidentified" in done.stdout


def foreign(path: Path) -> None:
    """Another program's Parquet."""
    clusters().to_parquet(path)


def text(path: Path) -> None:
    """No Parquet at all."""
    path.write_text("no")


def folder(path: Path) -> None:
    """A folder of that name."""
    path.mkdir()


@pytest.mark.parametrize("put", [foreign, text, folder])
@pytest.mark.parametrize("arguments", [("certify",), ("certify", "--check")])
def test_foreign_files_are_2_and_stay(here: Path, put: Callable[[Path], None], arguments: tuple[str]) -> None:
    """Somebody's file would be overwritten, or end in a traceback."""
    path = here / "cases/mine/certified.parquet"
    put(path)
    before = path.read_bytes() if path.is_file() else None
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert "certified.parquet" in done.stderr
    assert "remove it" in done.stderr
    assert (path.read_bytes() if path.is_file() else None) == before


def test_read_only_folder_is_2(certified: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write would end in a traceback, harm what is there or leave something half-written."""
    before = certified.read_bytes()

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("bridge.certificate.os.replace", refuse)
    done = call("certify")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "certified.parquet: cannot be written" in done.stderr
    assert certified.read_bytes() == before
    assert sorted(p.name for p in certified.parent.iterdir()) == sorted(
        ["case.toml", "certified.parquet", "data.parquet"]
    )


def test_no_case_is_2(here: Path) -> None:
    """An empty folder or a wrong name would look like success."""
    assert call("certify", "nine").exit_code == 2
    shutil.rmtree("cases/mine")
    done = call("certify")
    assert done.exit_code == 2
    assert "no case" in done.stderr

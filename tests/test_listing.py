"""``lmmbridge list``: its filters."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from bridge import case as cases
from bridge.cli import app
from bridge.commands import common
from bridge.commands.listing import show
from bridge.resources import find


def listed(*arguments: str) -> tuple[int, str]:
    """Exit code and what it prints, on a wide terminal."""
    done = CliRunner().invoke(app, ["list", *arguments], env={"COLUMNS": "400"})
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("arguments", "there", "gone"),
    [
        (["--family", "multimodal"], "bimodal ", "sleepstudy "),
        (["--tag", "cluster-level"], "unbalanced-89 ", "sleepstudy "),
        (["--engine", "lme4", "--verdict", "WORSE_OPTIMUM"], "sleepstudy-days2000 ", "penicillin "),
        (["--engine", "gpboost", "--verdict", "WRONG_COMPUTATION"], "penicillin ", "sleepstudy-days2000 "),
    ],
)
def test_a_filter_keeps_what_it_names(arguments, there, gone):
    """A filter that keeps all, or another engine's verdict, hides what was asked for."""
    code, said = listed(*arguments)
    assert code == 0
    assert there in said
    assert gone not in said


def test_no_filter_shows_all_with_family_and_tags():
    """A case that the list leaves out is never run by name."""
    code, said = listed()
    every = cases.discover(find("cases"))
    assert code == 0
    assert f"{len(every)} cases in" in said.splitlines()[-1]
    assert "founding-question" in said


@pytest.mark.parametrize("option", ["--tag", "--family", "--verdict", "--engine"])
def test_what_no_case_has_is_refused_in_a_line(option):
    """An empty list for a word mistyped looks like an answer."""
    code, said = listed(option, "nonesuch")
    assert code == 2
    assert "no case has it; use one of" in said


def test_cases_of_ones_own_hide_the_bundled_ones_and_say_so(tmp_path: Path, monkeypatch):
    """A family of README's example is refused with an empty list, and no way to the bundled cases."""
    (tmp_path / "cases").mkdir()
    monkeypatch.chdir(tmp_path)
    code, said = listed("--family", "multimodal")
    assert code == 2
    assert "no case has it; leave --family out, as no case has any; ./cases hides the bundled" in said
    code, said = listed()
    assert "0 cases in cases; those that come with lmmbridge: --bundled" in said
    code, said = listed("--bundled", "--family", "multimodal")
    assert code == 0
    assert "bimodal " in said


def test_a_narrow_terminal_breaks_no_id_and_no_formula():
    """An id cut short cannot be typed, a formula cut short says another model."""
    formula = "frequency ~ " + " + ".join(f"predictor{i}" for i in range(12)) + " + (1 | Block:subject)"
    row = ("a-case-with-a-long-name", formula, "REML, ML", "ok", "some-family", "some, tags", "What it is")
    narrow, wide = (Console(file=io.StringIO(), width=width) for width in (100, 400))
    for out in (narrow, wide):
        show([row], out)
    lines = [line.rstrip() for line in narrow.file.getvalue().splitlines()]
    assert lines == [f"a-case-with-a-long-name  {formula}", "    What it is"]
    assert "some-family" in wide.file.getvalue()


def test_slow_cases_are_left_out_unless_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of all would take ten times as long for two cases, or leave them out without a word."""
    for name in ("dyestuff", "groups-1e4"):
        shutil.copytree(find("cases") / name, tmp_path / name)
    kept, left = common.select([], [tmp_path])
    assert [case.id for case in kept] == ["dyestuff"]
    both, none = common.select(["groups-1e4", "dyestuff"], [tmp_path])
    assert sorted(case.id for case in both) == ["dyestuff", "groups-1e4"]
    common.omitted(none)
    assert capsys.readouterr() == ("", "")
    common.omitted(left)
    assert "tagged slow: groups-1e4 (name" in capsys.readouterr().err


def test_the_command_on_a_page_names_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page would show a folder of the machine that made it, or a command that nobody typed."""
    monkeypatch.setattr("sys.argv", ["x", "league", "--store", "/a b", "-o", "my page.md", "--store=c"])
    assert common.typed() == "lmmbridge league -o 'my page.md'"

"""``lmmbridge list``: its filters."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from bridge import case as cases
from bridge.cli import app
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

"""report.json: what it holds, its schema, and what is not one."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from bridge.agreement import Agreement
from bridge.errors import StoreError
from bridge.report import markdown, page
from bridge.report.gather import gather, lines
from bridge.report.results import Results, dump, read, schema
from bridge.report.summary import summary
from tests.judged import HOSTILE, agreement, multiplied


@pytest.fixture(scope="module")
def judged() -> Agreement:
    """Fits that were made once for this module."""
    return agreement()


@pytest.fixture(scope="module")
def results(judged: Agreement) -> Results:
    """Them, gathered."""
    return gather(judged, 1.0, markdown.Extras())


def published() -> dict[str, object]:
    """The schema that comes with the package."""
    found: dict[str, object] = json.loads(files("bridge.report").joinpath("report.schema.json").read_text())
    return found


def test_schema_is_the_models() -> None:
    """Other programs would check report.json by an old schema (write it anew from `results.schema()`)."""
    assert published() == schema()


def test_report_json_keeps_to_its_schema(results: Results) -> None:
    """Another program could not read a field as the schema says, such as one that is not finite."""
    odd = results.fits[0].model_copy(update={"gap": float("nan"), "loglik": float("inf")})
    written = json.loads(dump(results.model_copy(update={"fits": (odd, *results.fits[1:])})))
    jsonschema.validate(written, published())
    assert (written["fits"][0]["gap"], written["fits"][0]["loglik"]) == ("NaN", "Infinity")
    written["fits"][0]["verdict"] = "FINE"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, published())


def test_what_is_written_is_read(results: Results, tmp_path: Path) -> None:
    """A page drawn again from an earlier run would show other numbers."""
    odd = results.fits[0].model_copy(update={"loglik": float("-inf")})
    kept = results.model_copy(update={"fits": (odd, *results.fits[1:])})
    (tmp_path / "report.json").write_text(dump(kept))
    assert dump(read(tmp_path)) == dump(kept)
    assert read(tmp_path / "report.json").fits[0].loglik == float("-inf")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read"), ("{", "make the run again"), ('{"sentence": 1}', "sentence")],
)
def test_what_is_no_report_is_said(content: str | None, words: str, tmp_path: Path) -> None:
    """A user who names the wrong folder would get a traceback."""
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(StoreError, match=words) as raised:
        read(tmp_path)
    assert "\n" not in str(raised.value)


def test_rows_beyond_tolerance_come_first_and_none_of_them_is_dropped(judged: Agreement) -> None:
    """The page would hide the number that is wrong."""
    (odd,) = judged.unexpected
    kept = lines(odd)
    assert kept[: len(odd.failing)] == list(odd.failing)
    assert len(odd.failing) == 2
    blups = [row for row in kept if row.quantity == "BLUP"]
    assert [row.difference for row in blups] == [
        max(row.difference for row in odd.rows if row.quantity == "BLUP")
    ]


def test_requirements_count_every_row(judged: Agreement, results: Results) -> None:
    """A validation team would sign for checks that were not made, or were not met."""
    assert sum(r.checked for r in results.requirements) == len(judged.table)
    assert sum(r.met for r in results.requirements) == judged.table["ok"].sum()
    (missed,) = [r for r in results.requirements if r.met < r.checked]
    assert (missed.engine, missed.profile, missed.checked, missed.met) == ("statsmodels", "tight", 8, 6)
    assert missed.known == 0


def test_pairs_are_python_beside_r(results: Results) -> None:
    """Engines of one language, or different numbers, would be compared as Python against R."""
    assert {(p.python, p.r) for p in results.pairs} == {("numpy", "lme4"), ("statsmodels", "lme4")}
    assert all(p.difference == 0 for p in results.pairs)
    assert {p.quantity for p in results.pairs} == {"beta", "var", "BLUP"}


def test_summary_of_a_job(results: Results) -> None:
    """CI's summary would not name what failed, or obey a name."""
    said = summary(results)
    assert "**plain, REML, statsmodels, tight**" in said
    assert HOSTILE not in said
    row = next(line for line in said.splitlines() if line.startswith("| statsmodels"))
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["statsmodels", "7", "0", "1", "0", "1"]


def test_a_large_catalogue_is_a_small_page(results: Results) -> None:
    """A page of 60 cases, 12 engines, two methods and two profiles would be too large to send."""
    many = multiplied(results, times=30, engines=4)
    assert len(many.fits) == 60 * 12 * 4
    assert len(page.render(many).encode()) < 5e6

"""The league table and the badge: who is where, and what the words say."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from bridge import engines, footprint
from bridge.agreement import Agreement
from bridge.cli import app
from bridge.conformance import Score
from bridge.report import badge, league, markdown
from bridge.verdict import Judgement, Verdict
from tests.test_conformance import judged

SVG = "{http://www.w3.org/2000/svg}"


def run(**verdicts_of: list[Verdict]) -> Agreement:
    """An agreement in which each engine got these verdicts on cases 0, 1, 2 ..."""
    found: list[Judgement] = []
    for engine, verdicts in verdicts_of.items():
        found += [judged(v, engine=engine, case=str(i)) for i, v in enumerate(verdicts)]
    return Agreement(tuple(found))


def rows(agreement: Agreement) -> dict[str, dict[str, str]]:
    """Cells by engine and column, best engine first."""
    grid = league.league(agreement, "default", {"lme4": 28_243_227})
    return {row[0]: dict(zip(grid.head, row, strict=True)) for row in grid.rows}


def test_order_is_by_right_ones_among_those_that_count() -> None:
    """An engine would fall behind for what it rightly does not do, or gain by failing silently."""
    right, wrong = Verdict.AGREE, Verdict.WORSE_OPTIMUM
    agreement = run(
        statsmodels=[right, wrong, wrong, Verdict.UNSUPPORTED],
        nlme=[right, right, Verdict.UNSUPPORTED, Verdict.UNSUPPORTED],
        lme4=[right, right, wrong, right],
        glmmTMB=[right, right, Verdict.REFUSED, right],
    )
    found = rows(agreement)
    assert list(found) == ["nlme", "glmmTMB", "lme4", "statsmodels"]
    assert found["nlme"]["right"] == "100 %"
    assert (found["lme4"]["right"], found["lme4"]["silent wrong"], found["lme4"]["MB"]) == (
        "75 %",
        "1",
        "28.2",
    )
    assert (found["glmmTMB"]["refused"], found["glmmTMB"]["worst"]) == ("1", "0.0")
    assert (found["statsmodels"]["unsupported"], found["statsmodels"]["right"]) == ("1", "33 %")


def test_baselines_and_absent_engines_take_no_part() -> None:
    """The table would rank lm, or an engine that was never there."""
    agreement = run(lm=[Verdict.AGREE], lme4=[Verdict.AGREE], nlme=[Verdict.UNAVAILABLE])
    assert list(rows(agreement)) == ["lme4"]
    page = league.page(agreement, "lmmbridge league -o docs/league.md")
    assert "- nlme: why" in page
    assert "`lmmbridge league -o docs/league.md`" in page
    assert "## Profile default" in page
    assert "Profile tight" not in page


def test_the_report_has_it() -> None:
    """A reader of report.md would not find the table."""
    document = markdown.document(run(lme4=[Verdict.AGREE]), 1.0, markdown.Extras(sizes={"lme4": 10**6}))
    section = document.split("## League table")[1].split("\n## ")[0]
    assert "| lme4 | 100 % |" in section
    assert "| 1.0 |" in section


@pytest.mark.parametrize(
    ("value", "shown"), [(0.534, "0.53"), (1.62, "1.6"), (24.4, "24"), (1312.0, "1300"), (0.0, "0")]
)
def test_times_have_two_digits_and_no_exponent(value: float, shown: str) -> None:
    """Times would be given to digits that mean nothing, or as 1.3e+03."""
    assert league.number(value) == shown


CASES = {
    badge.GREEN: ([judged(Verdict.AGREE)] * 3, "3/3 agree"),
    badge.RED: ([judged(Verdict.AGREE), judged(Verdict.WORSE_OPTIMUM)], "1 silent wrong"),
    badge.ORANGE: (
        [judged(Verdict.AGREE), judged(Verdict.WORSE_OPTIMUM, claim="warned")],
        "1/2 agree, none silently wrong",
    ),
    badge.GREY: ([judged(Verdict.UNSUPPORTED)], "nothing compared"),
}


@pytest.mark.parametrize("colour", CASES)
def test_badge_says_it_in_words_and_colour(colour: str) -> None:
    """A badge would be green over a silent failure, cut its text off, or say nothing to a screen reader."""
    judgements, words = CASES[colour]
    root = ElementTree.fromstring(badge.svg(Score("a<b>&", "default", tuple(judgements))))
    assert root.find(f"{SVG}title").text == f"lmmbridge: {words}"
    assert "a<b>&" in root.find(f"{SVG}desc").text
    assert root.get("aria-labelledby") == "title desc"
    assert colour in [rect.get("fill") for rect in root.iter(f"{SVG}rect")]
    texts = list(root.iter(f"{SVG}text"))
    assert [text.text for text in texts] == ["lmmbridge", words]
    for text in texts:
        half = float(text.get("textLength")) / 2
        assert float(text.get("x")) - half > 0
        assert float(text.get("x")) + half < float(root.get("width"))


def distribution(folder: Path, name: str, size: int, *requires: str) -> None:
    """An installed package of one file."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (folder / f"{name}.bin").write_bytes(b"x" * size)
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}")
    (info / "RECORD").write_text(f"{name}.bin,,{size}\n")


def test_install_size_is_of_what_an_engine_brings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy would be counted against every engine, an optional extra too, or a dependency would not."""
    distribution(tmp_path, "mine", 1000, "helper>=1", "numpy", "plots; extra == 'all'", "absent")
    distribution(tmp_path, "helper", 200, "mine")
    distribution(tmp_path, "plots", 30)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert footprint.total(["Mine", "numpy", "BLAS"]) == 1200
    assert footprint.total(["numpy"]) == 0
    assert footprint.total(["no-such-package"]) is None
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert footprint.size(["mine"]) == 1200
    assert footprint.size(["mine"], python="/no/such/python") is None


@pytest.mark.needs_r
def test_install_size_of_an_r_package() -> None:
    """A package of R would have no size, or R itself would be counted."""
    import subprocess

    code = 'cat(find.package(c("nlme", "lattice")), sep = "\\n")'
    said = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout
    files = [path for line in said.split() for path in Path(line).rglob("*") if path.is_file()]
    assert footprint.size(["nlme", "R", "BLAS"], "R") == sum(path.stat().st_size for path in files)
    assert footprint.size(["R", "BLAS"], "R") is None


def test_sizes_are_the_same_in_both_pages() -> None:
    """Two pages would state two sizes of one engine, and a reader could believe neither."""

    def sizes(page: str) -> dict[str, str]:
        lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
        at = {line[0]: line[-1].rstrip(" |") for line in lines}
        return {name: at[name] for name in engines.BUILT_IN if re.fullmatch(r"[\d.]+", at.get(name, ""))}

    docs = Path(__file__).parents[1] / "docs"
    table, _, _ = (docs / "league.md").read_text(encoding="utf-8").partition("## Versions")
    overview, _, _ = (docs / "engines.md").read_text(encoding="utf-8").partition("\n## ")
    found = sizes(overview)
    assert len(found) >= 14
    assert found == sizes(table)


def test_engines_with_sizes() -> None:
    """The command that the pages name would not give their figures."""
    done = CliRunner().invoke(app, ["engines", "--sizes"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if line.split()[1:2] == ["statsmodels"]]
    versions = engines.versions("statsmodels")
    assert footprint.megabytes(footprint.size(versions)) in line.split()
    assert "beyond numpy, scipy, pandas" in done.stdout

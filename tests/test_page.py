"""The page in a real browser: what it shows, what a reader can do, and that nothing in it runs or leaves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pytest

from bridge.relation import RELATIONS
from bridge.report import markdown, page
from bridge.report.results import read
from bridge.verdict import Verdict
from tests.conftest import chromium
from tests.judged import BREAKING, HOSTILE, agreement, multiplied

pytestmark = pytest.mark.needs_browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `lmmbridge run --report` writes."""
    found = tmp_path_factory.mktemp("report")
    markdown.write(agreement(), found, 1.0, markdown.Extras())
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=chromium(), args=flags)
        yield made
        made.close()


class Reader:
    """A tab that notes what it asks of the network and what goes wrong."""

    def __init__(self, browser: Any, width: int = 1440, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.tab = self.context.new_page()
        self.asked: list[str] = []
        self.wrong: list[str] = []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("console", lambda message: self.wrong.append(message.text))
        self.tab.on("pageerror", lambda error: self.wrong.append(str(error)))

    def read(self, path: Path, fragment: str = "") -> Any:
        """The page, once its numbers are unpacked."""
        self.tab.goto(path.as_uri() + (f"#{quote(fragment)}" if fragment else ""))
        self.tab.wait_for_selector("html[data-ready]")
        return self.tab


@pytest.fixture
def reader(browser: Any) -> Iterator[Reader]:
    """One that must not meet any error."""
    made = Reader(browser)
    yield made
    made.context.close()
    assert made.wrong == []


def shown(tab: Any) -> list[str]:
    """Cases that the matrix shows."""
    found: list[str] = tab.locator("#grid tbody tr:visible th").all_inner_texts()
    return found


def count(tab: Any) -> str:
    """What the page says of the filters."""
    return str(tab.locator("#count").inner_text())


def test_filters_narrow_the_matrix(reader: Reader, folder: Path) -> None:
    """A reader of a large catalogue could not find the fits she is after."""
    tab = reader.read(folder / page.FILE)
    assert shown(tab) == ["plain", HOSTILE]
    assert count(tab) == "2 of 2 cases, 6 fits"
    tab.fill("input[name=text]", "PLA")
    assert shown(tab) == ["plain"]
    tab.click("button[type=reset]")
    tab.wait_for_function("document.getElementById('count').textContent.startsWith('2 of 2')")
    tab.select_option("select[name=verdict]", "worse optimum")
    assert (shown(tab), count(tab)) == ([HOSTILE], "1 of 2 cases, 1 fits with this verdict")
    tab.click(".engines summary")
    tab.uncheck("input[name=engine] >> nth=2")
    assert shown(tab) == []


def test_switches_choose_method_and_settings(reader: Reader, folder: Path) -> None:
    """REML and ML, or default and tight, would be mixed up."""
    tab = reader.read(folder / page.FILE)
    cell = tab.locator("#grid tbody tr").first.locator("td").nth(1).locator("a:visible")
    assert cell.inner_text() == "✓ agree"
    tab.locator("label", has_text="tight").click()
    assert re.sub(r"\s+", " ", cell.inner_text()) == "✗ worse optimum , no warning"
    tab.select_option("select[name=verdict]", "!wrong")
    assert shown(tab) == ["plain"]
    tab.locator("label", has_text=re.compile("^ML$")).click()
    assert shown(tab) == []


@pytest.fixture(scope="module")
def wide(folder: Path) -> Path:
    """A page of 15 engines, one of which is wrong by its log-likelihood alone."""
    found = multiplied(read(folder), times=1, engines=5)
    first = found.fits[0].model_copy(update={"words": "wrong logLik", "symbol": "✗", "silent": True})
    path = folder / "wide.html"
    path.write_text(page.render(found.model_copy(update={"fits": (first, *found.fits[1:])})))
    return path


def test_many_engines_fit_a_screen(reader: Reader, wide: Path) -> None:
    """Half of the engines would lie beyond the edge of the matrix, and nobody would know."""
    tab = reader.read(wide)
    assert tab.evaluate("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.matrix'))") <= 1
    assert tab.locator("#more").inner_text() == ""


def test_what_lies_beyond_the_edge_is_announced(browser: Any, wide: Path) -> None:
    """On a telephone a reader would take the first engines for all."""
    made = Reader(browser, 360)
    tab = made.read(wide)
    tab.wait_for_selector(".matrix[data-more]")
    beyond = re.fullmatch(r"; (\d+) more engines to the right →", tab.locator("#more").inner_text())
    assert beyond is not None
    assert 11 <= int(beyond[1]) <= 14
    tab.evaluate("document.querySelector('.matrix').scrollLeft = 1e6")
    tab.wait_for_selector(".matrix[data-past]:not([data-more])")
    assert tab.locator("#more").inner_text() == ""
    row = tab.locator("#unexpected tr").last
    assert all(
        cell.bounding_box()["x"] + cell.bounding_box()["width"] <= 360 for cell in row.locator("td").all()
    )
    made.context.close()


def test_a_wrong_loglik_alone_looks_like_no_wrong_estimate(reader: Reader, wide: Path) -> None:
    """A wrong constant would look as bad as wrong slopes, or one could not look for it."""
    tab = reader.read(wide)
    cell, wrong = tab.locator("#grid a.part:visible"), tab.locator("#grid a.wrong:not(.part)").first
    assert re.sub(r"\s+", " ", cell.inner_text()) == "✗ℓ wrong logLik , no warning"
    paint = [part.evaluate("node => getComputedStyle(node).backgroundColor") for part in (cell, wrong)]
    assert paint[0] != paint[1]
    tab.select_option("select[name=verdict]", "wrong logLik")
    assert count(tab) == "1 of 2 cases, 1 fits with this verdict"
    assert "the log-likelihood alone" in tab.locator(".legend").inner_text()


def test_the_words_are_explained(reader: Reader, folder: Path) -> None:
    """A reader would have to ask the command's help what a verdict or a relation is."""
    tab = reader.read(folder / page.FILE)
    tab.click("#words summary")
    said = tab.locator("#words").inner_text()
    for verdict in Verdict:
        assert verdict.value in said
    for relation in RELATIONS:
        assert relation.name in said
        assert relation.what in said


def test_a_cell_opens_and_its_numbers_are_the_parquets(reader: Reader, folder: Path) -> None:
    """The page would show other numbers than the results it comes with."""
    table = pd.read_parquet(folder / "results.parquet")
    tab = reader.read(folder / page.FILE)
    tab.locator("label", has_text="tight").click()
    tab.locator("#grid tbody tr").first.locator("td").nth(1).locator("a:visible").click()
    assert tab.locator("dialog h2").inner_text() == "plain, REML, statsmodels, tight"
    rows = [line.split("\t") for line in tab.locator("dialog tbody tr").all_inner_texts()]
    mine = table.query(
        "case == 'plain' and method == 'REML' and engine == 'statsmodels' and profile == 'tight'"
    )
    single = mine[mine["quantity"].isin(["beta", "SE", "sigma", "logLik"])]
    beside = {row[0]: row for row in rows}
    assert len(single) == 6
    for row in single.to_dict("records"):
        named = row["quantity"] in ("sigma", "logLik")
        what = row["quantity"] if named else f"{row['quantity']} {row['term']}"
        _, estimate, reference, _, _, allowed, _, ok = beside[what]
        given = [float(text.replace("−", "-")) for text in (estimate, reference, allowed)]
        assert given[:2] == pytest.approx([row["estimate"], row["reference"]], rel=1e-11)
        assert given[2] == pytest.approx(row["tolerance"], rel=0.06)
        assert (ok == "✓") == row["ok"]
    assert [row[0] for row in rows if row[-1] != "✓"] == ["beta (Intercept)", "beta x"]
    left = int(re.findall(r"(\d+) more rows", tab.locator("dialog").inner_text())[0])
    assert left + len(rows) == len(mine)
    tab.keyboard.press("Escape")
    assert not tab.locator("dialog").is_visible()


def test_a_deep_link_opens_its_cell(reader: Reader, folder: Path) -> None:
    """A link in an issue would lead to the top of the page."""
    tab = reader.read(folder / page.FILE, "plain-ML-lme4-tight")
    assert tab.locator("dialog h2").inner_text() == "plain, ML, lme4, tight"
    assert tab.locator("input[name=method]:checked").input_value() == "ML"
    tab.click("#close")
    assert "#" not in tab.url
    assert tab.evaluate("document.activeElement.closest('dialog')") is None


def test_the_keyboard_is_enough(reader: Reader, folder: Path) -> None:
    """Who uses no mouse could not open a cell."""
    tab = reader.read(folder / page.FILE)
    tab.locator("#grid a[tabindex='0']").focus()
    assert tab.locator("#grid a[tabindex='0']").count() == 1
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Enter"):
        tab.keyboard.press(key)
    tab.wait_for_selector("dialog[open]")
    assert tab.locator("dialog h2").inner_text() == f"{HOSTILE}, REML, lme4"


def test_hostile_text_is_shown_and_not_run(reader: Reader, folder: Path) -> None:
    """A case's name or an engine's message would run in the reader's browser."""
    tab = reader.read(folder / page.FILE, f"{HOSTILE}-REML-lme4-default")
    title = tab.title()
    assert title.startswith("Who agrees")
    assert tab.locator("dialog pre").first.inner_text() == BREAKING
    assert tab.locator("dialog dd", has_text="javascript:").count() == 1
    assert tab.locator("dialog a").count() == 0
    assert tab.locator("img[src=x]").count() == 0
    assert shown(tab)[1] == HOSTILE


def test_no_request_leaves_the_page(reader: Reader, folder: Path) -> None:
    """A report on data that may not leave the house would call out."""
    tab = reader.read(folder / page.FILE)
    for part in tab.locator("main details").all():
        part.evaluate("node => { node.open = true; }")
    tab.wait_for_timeout(200)
    assert [url for url in reader.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    policy = tab.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert "default-src 'none'" in policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_axe_finds_no_serious_violation(browser: Any, folder: Path, width: int, scheme: str) -> None:
    """A reader with a screen reader, low vision or a telephone could not use the page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    made = Reader(browser, width, scheme)
    written = folder / "formal.html"
    written.write_text(page.render(read(folder), folder, formal=True))
    for fragment in ("", "plain-REML-statsmodels-tight"):
        tab = made.read(written, fragment)
        if not fragment:
            for part in tab.locator("main details").all():
                part.evaluate("node => { node.open = true; }")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(tab).response["violations"]
        bad = [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found]
        assert bad == [], f"{width} {scheme} {fragment}"
    made.context.close()


def test_print_shows_all_and_no_controls(reader: Reader, folder: Path) -> None:
    """On paper what is folded would be missing, and buttons be printed."""
    tab = reader.read(folder / page.FILE)
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not tab.locator("#filters").is_visible()
    assert all(part.evaluate("node => node.open") for part in tab.locator("main details:not(.engines)").all())
    assert tab.locator("#provenance").is_visible()

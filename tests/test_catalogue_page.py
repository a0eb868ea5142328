"""The page of the catalogue is generated, and up to date."""

from __future__ import annotations

from bridge import case as cases
from bridge.report.catalogue import document, lean
from bridge.resources import find

DOCS = find("cases").parent / "docs"


def test_the_page_says_what_the_cases_say():
    """A case, or what is known of it, changed and the page did not: lmmbridge catalogue -o docs."""
    said = document(cases.discover(find("cases")), DOCS / "catalogue")
    assert (DOCS / "catalogue.md").read_text(encoding="utf-8") == said, "run: lmmbridge catalogue -o docs"


def test_no_picture_of_a_case_that_is_gone():
    """Pictures pile up, or the page grows beyond what anybody loads."""
    drawn = list((DOCS / "catalogue").glob("*.svg"))
    assert {path.stem for path in drawn} <= {case.id for case in cases.discover(find("cases"))}
    assert sum(path.stat().st_size for path in drawn) < 3e6


def test_lean_pictures_keep_their_marks():
    """Digits cut from what is no fraction would move every mark."""
    given = '<path aria-label="x: 1.2345" d="M10.4567,100L2,3.1" role="graphics-symbol" fill="#888"/>'
    assert lean(given) == '<path d="M10.4,100L2,3.1" fill="#888"/>'

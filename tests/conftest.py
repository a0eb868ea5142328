"""What several test modules share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``needs_r`` where R or rpy2 is not, ``needs_browser`` where no browser is."""
    here = {
        "needs_r": ("R", shutil.which("R") and find_spec("rpy2")),
        "needs_browser": ("a browser", chromium() and find_spec("playwright")),
    }
    for item in items:
        for marker, (name, there) in here.items():
            if not there and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"{name} is not here"))


def chromium() -> str | None:
    """A browser that playwright can drive, none of its own downloads."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


@pytest.fixture(autouse=True)
def loader_path() -> Iterator[None]:
    """Undo what an R started in a test does to ``LD_LIBRARY_PATH``: no later test's Python would start."""
    before = os.environ.get("LD_LIBRARY_PATH")
    yield
    os.environ.pop("LD_LIBRARY_PATH", None)
    if before is not None:
        os.environ["LD_LIBRARY_PATH"] = before


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Engines ``fakes:...`` can be named; returns the file that tallies their calls, a line each."""
    monkeypatch.syspath_prepend(str(TESTS / "engines"))
    tally = tmp_path / "calls"
    tally.touch()
    monkeypatch.setenv("FAKES_COUNT", str(tally))
    return tally


@pytest.fixture(scope="session")
def sleepstudy():
    """Reaction, Days, Subject: 18 subjects on 10 days (Belenky 2003), as the bundled case has them."""
    from bridge import data
    from bridge.resources import find

    return data.normalise(data.read(find("cases") / "sleepstudy" / "data.parquet"))

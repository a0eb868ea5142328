"""Pictures of the report's page, for README.md and docs/report.md: ``python docs/screenshots.py reports``.

The folder is one that `lmmbridge run --report` wrote.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FIGURES = Path(__file__).parent / "figures"
SHOTS = {
    "report": (1440, 900, "light", "matrix"),
    "report-cell": (1000, 920, "light", "sleepstudy-days2000-REML-lme4-default"),
    "report-telephone": (360, 700, "dark", "matrix"),
}


def main(folder: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    with sync_playwright() as driver:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        made = driver.chromium.launch(executable_path=browser, args=flags)
        for name, (width, height, scheme, fragment) in SHOTS.items():
            tab = made.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            tab.goto((folder / "index.html").resolve().as_uri() + f"#{fragment}")
            tab.wait_for_selector("html[data-ready]")
            tab.evaluate("document.activeElement.blur()")
            tab.screenshot(path=FIGURES / f"{name}.png")
        made.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

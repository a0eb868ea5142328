"""Write the numbers, tables and figures of docs/weights.md anew from the cases: ``python docs/weights.py``.

What stands between ``<!-- begin ... -->`` and ``<!-- end -->`` in the page is generated; the rest is prose
and holds no measured number.
"""

from __future__ import annotations

import re
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from bridge.explanation import explain
from bridge.model import build
from bridge.pooling import pooling
from bridge.report import pictures, text
from bridge.report.explain import tables
from bridge.report.grid import Grid

PAGE = Path(__file__).parent / "weights.md"
BLOCK = re.compile(r"(<!-- begin (?P<words>[^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
SIZES = (5, 10, 20, 40, 200)


def case(name: str, *drawn: str) -> str:
    """A case's sentences and table, and some of its pictures (written by `figures`)."""
    found = explain(name)
    parts = [f"> {text.markdown(sentence)}" for sentence in found.sentences]
    body = "\n>\n".join(parts)
    images = [f"![{name}: {picture}](figures/{name}-{picture}.svg)" for picture in drawn]
    return "\n\n".join([body, *(grid.markdown() for _, grid in tables(found)), *images])


def designs() -> str:
    """Exact standard errors at known variances, and about how often lm's 95 % interval then covers."""
    sizes = np.repeat(SIZES, 2)
    g = np.repeat(np.arange(len(sizes)), sizes)
    frame = pd.DataFrame({"y": np.arange(len(g)) % 7.0, "x": g % 2, "g": [f"g{i}" for i in g]})
    rows = []
    for icc in (0.01, 0.05, 0.3, 0.6):
        p = pooling(build("y ~ x + (1 | g)", frame), (np.array([[icc]]),), 1 - icc)
        X = p.model.X
        V = (1 - icc) * np.eye(len(g)) + icc * (g[:, None] == g[None, :])
        expected = float(np.trace(V - X @ (p.leverage.lm.T @ V))) / (len(g) - X.shape[1])
        naive = float(np.sqrt(expected * p.leverage.naive[1]))
        true = p.std_error_lm[1]
        covers = 2 * NormalDist().cdf(1.96 * naive / true) - 1
        flat = p.levels[0].unweighted
        assert flat is not None
        means = float(np.sqrt(np.sum(flat.shift[:, 1] ** 2 * (icc + (1 - icc) / sizes))))
        numbers = [p.std_error[1], true, means, naive]
        rows.append((f"{icc:g}", *(f"{v:.3f}" for v in numbers), f"{100 * covers:.0f} %"))
    head = ("ICC", "mixed model", "lm", "unweighted means", "what lm prints", "lm's 95 % interval covers")
    return Grid(head, tuple(rows), numeric=True).markdown()


def block(words: str) -> str:
    """What one marker stands for."""
    kind, *rest = words.split()
    return designs() if kind == "designs" else case(*rest)


def page() -> str:
    """The page with every generated part made anew."""
    return BLOCK.sub(
        lambda found: f"{found[1]}\n{block(found['words'])}\n\n{found[3]}", PAGE.read_text(encoding="utf-8")
    )


def drawn() -> list[tuple[str, str]]:
    """(case, picture) of each figure in the page."""
    words = [found["words"].split() for found in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]
    return [
        (name, picture)
        for kind, *rest in words
        if kind == "explain"
        for name in rest[:1]
        for picture in rest[1:]
    ]


def figures() -> None:
    """Write the figures beside the page, as SVG and PNG."""
    folder = PAGE.parent / "figures"
    folder.mkdir(exist_ok=True)
    for name, picture in drawn():
        chart = pictures.charts(explain(name))[picture]
        (folder / f"{name}-{picture}.svg").write_text(pictures.svg(chart), encoding="utf-8")
        (folder / f"{name}-{picture}.png").write_bytes(pictures.png(chart))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    figures()

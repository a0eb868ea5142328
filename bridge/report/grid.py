"""Grid: a table of texts, shown as plain text, Markdown, HTML or by rich."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.report import text

if TYPE_CHECKING:
    from rich.table import Table

STYLE = {text.AGREES: "green", text.KNOWN: "yellow", text.FAILS: "bold red", text.NEUTRAL: "dim"}


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows of cells under a head.

    Attributes
    ----------
    head : tuple of str
    rows : tuple of tuple of str
        Untrusted text; every rendering escapes it.
    numeric : bool
        All columns but the first are set flush right.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: bool = False

    def text(self) -> str:
        """Aligned plain text."""
        lines = [[text.clean(cell) for cell in row] for row in (self.head, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            self._line(line, widths) for line in [*lines[:1], ["-" * w for w in widths], *lines[1:]]
        )

    def _line(self, cells: list[str], widths: list[int]) -> str:
        flush = [
            c.rjust(w) if self.numeric and i else c.ljust(w)
            for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(flush).rstrip()

    def markdown(self) -> str:
        """A pipe table."""
        rule = ["---", *["---:" if self.numeric else "---"] * (len(self.head) - 1)]
        lines = [
            [text.markdown(c) for c in self.head],
            rule,
            *([text.markdown(c) for c in row] for row in self.rows),
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def html(self) -> str:
        """A table element."""
        align = ' style="text-align:right"' if self.numeric else ' style="text-align:left"'
        head = "".join(f"<th{align}>{text.html(cell)}</th>" for cell in self.head)
        body = "".join(
            "<tr>"
            + "".join(f"<td{align if i else ''}>{text.html(c)}</td>" for i, c in enumerate(row))
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def split(self, width: int, kept: int = 1) -> tuple[Grid, ...]:
        """Grids of at most `width` characters, to set one below the other.

        Each has the first `kept` columns, and of the rows those that say something in its other columns.
        """
        columns = list(zip(self.head, *self.rows, strict=True))
        sizes = [max(len(text.clean(cell)) for cell in column) + 3 for column in columns]
        blocks: list[list[int]] = [[]]
        for i in range(kept, len(columns)):
            if blocks[-1] and sum(sizes[:kept]) + sum(sizes[j] for j in blocks[-1]) + sizes[i] > width:
                blocks.append([])
            blocks[-1].append(i)

        def pick(row: tuple[str, ...], block: list[int]) -> tuple[str, ...]:
            return (*row[:kept], *(row[i] for i in block))

        def rows(block: list[int]) -> tuple[tuple[str, ...], ...]:
            picked = (pick(row, block) for row in self.rows)
            return tuple(row for row in picked if any(row[1:]))

        return tuple(Grid(pick(self.head, block), rows(block), self.numeric) for block in blocks)

    def rich(self) -> Table:
        """For a terminal, signs in colour; where it is too narrow words are wrapped, never a number cut."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i, column in enumerate(zip(self.head, *self.rows, strict=True)):
            figures = self.numeric and i > 0
            table.add_column(
                Text(text.clean(column[0])),
                justify="right" if figures else "left",
                no_wrap=figures or not (i or self.numeric),
                overflow="fold",
                min_width=max(len(text.clean(cell)) for cell in column) if figures else None,
            )
        for row in self.rows:
            cells = [text.clean(cell) for cell in row]
            table.add_row(*(Text(c, style=STYLE.get(c[:1], STYLE.get(c[-1:], ""))) for c in cells))
        return table

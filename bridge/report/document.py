"""Document: an Agreement as plain text and as HTML, for a Python prompt and a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.report import conventions, tables, text

if TYPE_CHECKING:
    from bridge.agreement import Agreement

FEW = 4
"""Up to so many blocks are shown in full; beyond, cases by engines and what is unexpected."""


def plain(agreement: Agreement) -> str:
    """What `repr` shows."""
    parts = []
    found = tables.blocks(agreement)
    if len(found) <= FEW:
        for block, judgements in found.items():
            grid = tables.quantities(judgements)
            said = conventions.note(judgements)
            parts += [title(block), *([grid.text()] if grid else []), *([text.clean(said)] if said else [])]
            parts.append(tables.verdicts(judgements).text())
    else:
        parts += [tables.matrix(agreement).text(), text.LEGEND]
        for name, reason, rows in tables.unexpected(agreement):
            parts.append("\n".join([text.clean(f"{name}: {reason}"), *(f"    {row}" for row in rows)]))
    return "\n\n".join([*parts, *map(text.clean, agreement.notes), agreement.sentence])


def page(agreement: Agreement) -> str:
    """What a notebook shows: every text from data, formula or engine is escaped."""
    parts = []
    found = tables.blocks(agreement)
    if len(found) <= FEW:
        for block, judgements in found.items():
            grid = tables.quantities(judgements)
            parts += [f"<h4>{text.html(title(block))}</h4>", grid.html() if grid else ""]
            if said := conventions.note(judgements):
                parts.append(f"<p>{text.html(said)}</p>")
            parts.append(tables.verdicts(judgements).html())
    else:
        parts.append(tables.matrix(agreement).html())
        for name, reason, rows in tables.unexpected(agreement):
            items = "".join(f"<li>{text.html(row)}</li>" for row in rows)
            parts.append(f"<p><b>{text.html(name)}</b>: {text.html(reason)}</p><ul>{items}</ul>")
    parts += [f"<p>{text.html(note)}</p>" for note in agreement.notes]
    return "\n".join([f"<p>{text.html(agreement.sentence)}</p>", *parts])


def title(block: tables.Block) -> str:
    """``sleepstudy, REML`` and the profile if it is not the default."""
    case, method, profile = block
    return text.clean(f"{case}, {method}" + ("" if profile == "default" else f", {profile}"))

"""Audit: batched fits of a sample of replicates against optima proven in ball arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bridge.study.cell import Cell, spell
from bridge.study.spec import BATCH, Study

WITHIN = 1e-7
"""Deviance units that a batched optimum may be above the proven one; 1e-11 and less are seen."""


def audit(study: Study, cells: Sequence[Cell]) -> Iterator[str]:
    """A sentence for each design and method; it says FAILED where an optimum is missed."""
    from bridge.batch import Plan, fit
    from bridge.certify import certify

    if BATCH not in study.engines or not study.audited:
        return
    for cell in cells:
        Y = cell.responses(cell.seeds(0, min(study.audited, study.replicates)))
        for method in study.methods:
            found, worst, proven = fit(Plan.of(cell.model, method), Y), 0.0, 0
            for y, loglik in zip(Y, found.loglik, strict=True):
                y = y.copy()
                y.setflags(write=False)
                certificate = certify(replace(cell.model, y=y), method)
                if certificate.proven and certificate.optima:
                    proven += 1
                    worst = max(worst, abs(-2 * float(loglik) - certificate.optima[0].criterion.double))
            said = "" if worst <= WITHIN else "FAILED: "
            yield (
                f"{said}{spell(cell.at)}, {method}: {proven} of {len(Y)} optima proven; batched fits within "
                f"{worst:.1e} deviance units"
            )

"""The numpy engine's digits: every number of every certified case, beside its certificate."""

from __future__ import annotations

import math

import pytest

from bridge.case import discover
from bridge.certificate import read
from bridge.engines.numpy import Numpy
from bridge.formula import parse
from bridge.model import build
from bridge.resources import find

DIGITS = 10.0
KINDS = {"fixed": "beta", "std_error": "SE", "ran_pars": "G", "ran_vals": "BLUP", "loglik": "logLik"}
CASES = [
    (case, certificate)
    for case in discover(find("cases"))
    if (case.folder / "certified.parquet").is_file()
    for certificate in read(case.folder / "certified.parquet")
    if certificate.rows and parse(case.spec.formula).errors is None  # else the engine declines
]


def numbers(fit):
    """The fit's numbers under the keys of a certificate's rows."""
    found = {(row.effect, row.group, row.level, row.term): row.estimate for row in fit.rows}
    for row in fit.select("fixed"):
        found["std_error", None, None, row.term] = row.std_error
    return found | {("loglik", None, None, "loglik"): fit.loglik}


@pytest.mark.parametrize(
    ("case", "certificate"), CASES, ids=[f"{case.id}-{certificate.method}" for case, certificate in CASES]
)
def test_ten_digits(case, certificate):
    """Fewer than ten right digits in a number, where the data allow so many."""
    model = build(
        case.spec.formula,
        case.frame(),
        missing=case.spec.missing,
        weights=case.spec.weights,
        offset=case.spec.offset,
    )
    fit = Numpy().fit(model, certificate.method, "default")
    assert fit.status == "ok", fit.reason
    found = numbers(fit)
    sizes = {}
    for row in certificate.rows:
        if row.effect == "ran_vals":
            key = row.group, row.term
            sizes[key] = max(sizes.get(key, 0.0), abs(row.number.double))
    for row in certificate.rows:
        if row.effect not in KINDS:
            continue
        truth = row.number.double
        base = sizes[row.group, row.term] if row.effect == "ran_vals" else abs(truth)
        off = abs(found[row.effect, row.group, row.level, row.term] - truth)
        # half a digit: what the data allow is itself an estimate, from three draws
        most = min(DIGITS, certificate.allowed.get(KINDS[row.effect], DIGITS) - 0.5)
        assert off <= 10.0**-most * base or off <= 1e-13 * fit.sigma**2, (row.label, truth, off)
        assert not math.isnan(off)

"""NIST's ANOVA data sets: shipped as NIST has them, certified as the closed form has it."""

from __future__ import annotations

import re
from fractions import Fraction
from importlib.resources import files
from typing import Any

import mpmath as mp
import pytest

from bridge.case import Case
from bridge.certificate import Number
from bridge.resources import find

NAMES = ("SiRstv", "AtmWtAg", *(f"SmLs0{i}" for i in range(1, 10)))


@pytest.fixture(autouse=True)
def _digits():
    with mp.workdps(80):
        yield


def nist(name: str) -> tuple[str, list[tuple[str, float]]]:
    """NIST's text, and its treatments and responses from line 61 on."""
    text = (files("scipy.stats.tests") / "data/nist_anova" / f"{name}.dat").read_text()
    rows = (line.split() for line in text.splitlines()[60:])
    return text, [(row[0], float(row[1])) for row in rows if row]


def shipped(name: str) -> Case:
    """The bundled case."""
    return Case.load(find("cases") / f"nist-{name.lower()}")


def real(value: Fraction) -> Any:
    """A fraction in 80 digits."""
    return mp.mpf(value.numerator) / value.denominator


def agrees(number: Number, truth: Any) -> None:
    """To 25 digits, and within the radius."""
    off = abs(mp.mpf(number.value) - truth)
    assert off <= mp.mpf(number.radius) * (1 + mp.mpf(10) ** -20)
    assert off <= abs(truth) * mp.mpf(10) ** -25
    assert number.double == float(truth)


@pytest.mark.parametrize("name", NAMES)
def test_data_are_nists(name: str) -> None:
    """A response or treatment would differ from NIST's, or the difficulty said of it."""
    text, rows = nist(name)
    case = shipped(name)
    frame = case.frame()
    assert list(zip(frame["treatment"], frame["y"], strict=True)) == rows
    assert list(frame["treatment"].cat.categories) == list(dict.fromkeys(row[0] for row in rows))
    constant = re.search(r"(\d+) Constant Leading Digit", text)
    assert constant
    assert case.spec.why.startswith(f"{constant[1]} constant leading digit")
    assert re.search(r"(\d+) Observations", text)[1] == str(len(rows))


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("name", NAMES)
def test_certificate_is_the_closed_form(name: str, method: str) -> None:
    """Balanced one-way layout in exact fractions of the stored doubles, inside and on the boundary."""
    case = shipped(name)
    frame = case.frame()
    groups = {
        level: [Fraction(float(v)) for v in frame["y"][frame["treatment"] == level]]
        for level in frame["treatment"].cat.categories
    }
    J, n = len(groups), len(frame) // len(groups)
    N, lost = J * n, int(method == "REML")
    means = {level: sum(values) / n for level, values in groups.items()}
    grand = sum(means.values()) / J
    ssb = n * sum((mean - grand) ** 2 for mean in means.values())
    ssw = sum((v - means[level]) ** 2 for level, values in groups.items() for v in values)
    between, sigma2 = ssb / (J - lost), ssw / (N - J)
    inside = between > sigma2
    if not inside:
        between = sigma2 = (ssb + ssw) / (N - lost)
    tau2 = (between - sigma2) / n
    logs = (J - lost) * mp.log(real(between)) + (N - J) * mp.log(real(sigma2)) + lost * mp.log(N)
    if not inside:
        logs = (N - lost) * mp.log(real(sigma2)) + lost * mp.log(N)
    found = case.certificates()[method]
    assert (found.status, found.proof) == ("ok" if inside else "singular", "global")
    assert case.expect(method) == found.status
    agrees(found.number("loglik", "loglik"), -((N - lost) * (1 + mp.log(2 * mp.pi)) + logs) / 2)
    agrees(found.number("fixed", "(Intercept)"), real(grand))
    agrees(found.number("std_error", "(Intercept)"), mp.sqrt(real(between / N)))
    agrees(found.number("ran_pars", "var__Observation", "Residual"), real(sigma2))
    agrees(found.number("ran_pars", "var__(Intercept)", "treatment"), real(tau2))
    agrees(found.number("theta", "(Intercept)", "treatment"), mp.sqrt(real(tau2 / sigma2)))
    for level, mean in means.items():
        blup = n * tau2 / between * (mean - grand)
        number = found.number("ran_vals", "(Intercept)", "treatment", (level,))
        if number.value == "0":
            assert abs(real(blup)) <= mp.mpf(number.radius)
        else:
            agrees(number, real(blup))
    assert len(found.rows) == 6 + J + 1

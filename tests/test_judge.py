"""Verdicts: real fits of every engine must pass, and each small falsification of them must not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from bridge import engines
from bridge.case import Case
from bridge.fit import Fit, Row
from bridge.judge import advice, judge
from bridge.model import Model, build
from bridge.reference import Reference
from bridge.resources import find
from bridge.run import LocalWorkers, Task, execute
from bridge.verdict import Judgement, Verdict

CASES = ("sleepstudy", "machines", "pastes")
ENGINES = [
    "numpy",
    "statsmodels",
    *(pytest.param(e, marks=pytest.mark.needs_r) for e in ("lme4", "nlme", "glmmTMB")),
]


@pytest.fixture(scope="session")
def workers():
    """Worker processes shared by this module."""
    with LocalWorkers(1) as shared:
        yield shared


@dataclass
class Bench:
    """Cases with their references, and fits made on demand."""

    workers: LocalWorkers
    fits: dict[tuple[str, str, str], Fit]
    references: dict[tuple[str, str], tuple[Model, Reference]]

    def fit(self, case: str, engine: str, method: str = "REML") -> Fit:
        """The engine's real answer."""
        key = (case, engine, method)
        if key not in self.fits:
            one = Case.load(find("cases") / case)
            task = Task(
                case, one.folder / "data.parquet", one.spec.data.hash, one.spec.formula, method, engine
            )
            self.fits[key] = execute([task], executor=self.workers)[0][1]
        return self.fits[key]

    def judge(self, case: str, fit: Fit, **more: object) -> Judgement:
        """The verdict on it."""
        key = (case, fit.method)
        if key not in self.references:
            model = Case.load(find("cases") / case).model()
            self.references[key] = (model, Reference.polished(model, fit.method))
        model, reference = self.references[key]
        return judge(case, model, reference, fit, engines.get(fit.engine), **more)


@pytest.fixture(scope="session")
def bench(workers: LocalWorkers) -> Bench:
    """One per session."""
    return Bench(workers, {}, {})


def change(fit: Fit, pick: Callable[[Row], bool], by: Callable[[Row], Row]) -> Fit:
    """The first row that is picked, changed."""
    at = next(i for i, row in enumerate(fit.rows) if pick(row))
    return fit.having(rows=(*fit.rows[:at], by(fit.rows[at]), *fit.rows[at + 1 :]))


def swap(fit: Fit, effect: str) -> Fit:
    """The estimates of two rows exchanged: the two furthest apart of the first row's term."""
    rows = [
        i
        for i, r in enumerate(fit.rows)
        if r.effect == effect and (effect == "fixed" or r.term == fit.select(effect)[0].term)
    ]
    ordered = sorted(rows, key=lambda i: fit.rows[i].estimate)
    a, b = ordered[0], ordered[-1]
    new = list(fit.rows)
    new[a], new[b] = new[a].having(estimate=new[b].estimate), new[b].having(estimate=new[a].estimate)
    return fit.having(rows=tuple(new))


def first(fit: Fit, what: str, **changes: object) -> Fit:
    """The first row of a kind with some fields replaced; a function is applied to the old value."""
    picks = {
        "fixed": lambda r: r.effect == "fixed",
        "var": lambda r: r.term.startswith("var__"),
        "residual": lambda r: r.group == "Residual",
        "blup": lambda r: r.effect == "ran_vals" and abs(r.estimate) > 1e-3,
    }

    def by(row: Row) -> Row:
        new = {k: v(getattr(row, k)) if callable(v) else v for k, v in changes.items()}
        return row.having(**new)

    return change(fit, picks[what], by)


def without(fit: Fit) -> Fit:
    """One level dropped."""
    return fit.having(rows=tuple(r for r in fit.rows if r is not fit.select("ran_vals")[0]))


def with_level(fit: Fit, **changes: object) -> Fit:
    """One more level."""
    return fit.having(rows=(*fit.rows, fit.select("ran_vals")[0].having(**changes)))


def up(value: float) -> float:
    """One per cent more."""
    return 1.01 * value


MUTATIONS: dict[str, Callable[[Fit], Fit]] = {
    "swap two BLUPs": lambda f: swap(f, "ran_vals"),
    "drop a level": without,
    "add a level": lambda f: with_level(f, level=("nobody",)),
    "give a level twice": with_level,
    "rename a level": lambda f: first(f, "blup", level=lambda v: (*v[:-1], v[-1] + " ")),
    "flip a BLUP's sign": lambda f: first(f, "blup", estimate=lambda v: -v),
    "scale a BLUP": lambda f: first(f, "blup", estimate=up),
    "scale a slope": lambda f: first(f, "fixed", estimate=up),
    "flip a slope's sign": lambda f: first(f, "fixed", estimate=lambda v: -v),
    "scale a variance": lambda f: first(f, "var", estimate=up),
    "negative variance": lambda f: first(f, "var", estimate=lambda v: -v),
    "sd for variance": lambda f: first(f, "var", estimate=math.sqrt),
    "scale sigma2": lambda f: first(f, "residual", estimate=up),
    "scale sigma": lambda f: f.having(sigma=up(f.sigma)),
    "shift a standard error": lambda f: first(f, "fixed", std_error=lambda v: 1.001 * v),
    "drop a standard error": lambda f: first(f, "fixed", std_error=None),
    "shift the log-likelihood": lambda f: f.having(loglik=f.loglik + 1e-3),
    "no log-likelihood": lambda f: f.having(loglik=math.nan),
    "infinite log-likelihood": lambda f: f.having(loglik=math.inf),
    "NaN slope": lambda f: first(f, "fixed", estimate=math.nan),
    "Inf BLUP": lambda f: first(f, "blup", estimate=math.inf),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_each_falsification_turns_red(bench: Bench, engine: str, case: str, mutation: str) -> None:
    """A comparator that lets one of these through would certify a mix-up."""
    fit = bench.fit(case, engine)
    assert bench.judge(case, fit).verdict is Verdict.AGREE, bench.judge(case, fit).reason
    verdict = bench.judge(case, MUTATIONS[mutation](fit))
    assert verdict.verdict is Verdict.WRONG_COMPUTATION
    assert not verdict.expected


@pytest.mark.parametrize("engine", ENGINES)
def test_two_fixed_effects_exchanged(bench: Bench, engine: str) -> None:
    """(Intercept) and Days under each other's name."""
    assert (
        bench.judge("sleepstudy", swap(bench.fit("sleepstudy", engine), "fixed")).verdict
        is Verdict.WRONG_COMPUTATION
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_covariance_read_by_rows_for_columns(bench: Bench, engine: str) -> None:
    """Lower triangle by rows is 11 21 22 31 32 33, by columns 11 21 31 22 32 33."""
    fit = bench.fit("machines", engine)
    here = [i for i, r in enumerate(fit.rows) if r.effect == "ran_pars" and r.group == "Worker"]
    names = [fit.rows[i].term for i in here]
    first = [n.removeprefix("var__") for n in names if n.startswith("var__")]
    label = {
        (i, j): f"var__{first[i]}" if i == j else f"cov__{first[j]}.{first[i]}"
        for i in range(3)
        for j in range(i + 1)
    }
    by_columns = [label[i, j] for j in range(3) for i in range(j, 3)]
    by_rows = [label[i, j] for i in range(3) for j in range(i + 1)]
    value = {fit.rows[i].term: fit.rows[i].estimate for i in here}
    wrong = {term: value[source] for term, source in zip(by_rows, by_columns, strict=True)}
    rows = tuple(r.having(estimate=wrong[r.term]) if i in here else r for i, r in enumerate(fit.rows))
    assert bench.judge("machines", fit.having(rows=rows)).verdict is Verdict.WRONG_COMPUTATION


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_ml_for_reml_and_back(bench: Bench, engine: str, case: str) -> None:
    """The right answer to the other question."""
    for have, wanted in (("ML", "REML"), ("REML", "ML")):
        verdict = bench.judge(case, bench.fit(case, engine, have).having(method=wanted)).verdict
        assert verdict in {Verdict.WRONG_COMPUTATION, Verdict.WORSE_OPTIMUM}


def moved(bench: Bench, case: str, index: int) -> tuple[Model, Reference, Fit]:
    """An exact Fit at one of the reference's optima, as an engine without rounding would give it."""
    fit = bench.fit(case, "numpy")
    bench.judge(case, fit)
    model, reference = bench.references[case, "REML"]
    return model, reference, exact(reference, index)


def exact(
    reference: Reference, index: int = 0, psi: tuple[np.ndarray, ...] | None = None, sigma2: float = 0.0
) -> Fit:
    """What belongs to a (Psi, sigma2), computed exactly."""
    criterion, best = reference.criterion, reference.optima[index]
    psi, sigma2 = psi or best.psi, sigma2 or best.sigma2
    model = criterion.structure.model
    value, point = criterion.unprofiled(psi, sigma2)
    beta, se = criterion.beta(point), np.sqrt(np.diag(criterion.phi(point, sigma2)))
    rows = [
        Row("fixed", n, float(b), None, None, float(s)) for n, b, s in zip(model.names, beta, se, strict=True)
    ]
    for term, G, b in zip(model.random, psi, criterion.blups(point), strict=True):
        for i, first in enumerate(term.names):
            rows.append(Row("ran_pars", f"var__{first}", float(G[i, i]), term.group))
            rows += [
                Row("ran_pars", f"cov__{first}.{term.names[j]}", float(G[i, j]), term.group)
                for j in range(i + 1, len(term.names))
            ]
        rows += [
            Row("ran_vals", n, float(b[i, j]), term.group, level)
            for i, level in enumerate(term.levels)
            for j, n in enumerate(term.names)
        ]
    rows.append(Row("ran_pars", "var__Observation", sigma2, "Residual"))
    return Fit(
        "numpy", criterion.method, "default", "ok", tuple(rows), -value / 2, math.sqrt(sigma2), model.n, True
    )


def test_the_other_optimum_is_multimodal_and_silent(bench: Bench) -> None:
    """An engine that ends in the higher minimum computed everything right and is still wrong."""
    _, reference, _ = moved(bench, "bimodal", 0)
    verdict = bench.judge("bimodal", exact(reference, 1))
    assert verdict.verdict is Verdict.MULTIMODAL
    assert verdict.gap == pytest.approx(83.53490 - 78.48623, abs=1e-5)
    assert verdict.silent
    assert "other start" in verdict.reason


def test_an_unfinished_search_is_a_worse_optimum_with_advice(bench: Bench) -> None:
    """Right algebra at the wrong covariances; with an uncentred year the advice is to centre it."""
    _, reference, _ = moved(bench, "sleepstudy-days2000", 0)
    off = bench.judge("sleepstudy-days2000", exact(reference, psi=(2 * reference.best.psi[0],)))
    assert off.verdict is Verdict.WORSE_OPTIMUM
    assert "centre Days" in off.reason


def test_the_advice_counts_in_sds_as_r_does() -> None:
    """The user's own mean(x) / sd(x) would be another number: sd(c(999, 1000, 1001)) is 1 in R."""
    frame = pd.DataFrame({"y": [1.0, 2.5, 2.0], "x": [999.0, 1000.0, 1001.0], "g": ["a", "a", "b"]})
    assert advice(build("y ~ x + (1 | g)", frame)) == "centre x (its mean is 1000 times its sd)"


def test_a_gap_within_tolerance_but_numbers_apart_is_flat(bench: Bench) -> None:
    """A variance 1e-6 off is beyond the numpy engine's tolerance at a tiny gap: a note, no failure."""
    _, reference, _ = moved(bench, "dyestuff", 0)
    near = bench.judge("dyestuff", exact(reference, psi=(reference.best.psi[0] * (1 + 1e-6),)))
    assert near.verdict is Verdict.FLAT
    assert near.expected
    assert {row.quantity for row in near.failing} >= {"G"}
    assert "flat" in near.reason


def test_a_reference_that_is_too_high_blames_itself(bench: Bench) -> None:
    """If an engine is lower than the reference, the harness is wrong and must say so."""
    model, reference, fit = moved(bench, "bimodal", 0)
    blind = Reference(reference.kind, reference.criterion, (reference.optima[1],))
    verdict = judge("bimodal", model, blind, fit, engines.get("numpy"))
    assert verdict.verdict is Verdict.REFERENCE_WRONG
    assert not verdict.expected


@dataclass
class Known:
    """A known difference, as a case.toml has it."""

    engine: str
    verdicts: list[str]
    reason: str = "measured"
    silent: bool | str = False

    def matches(self, engine: str, *_: object) -> bool:
        """Of its engine."""
        return engine == self.engine


def test_a_known_difference_is_strict(bench: Bench) -> None:
    """Expected while it is there; a failure that names it when it is gone."""
    fit = bench.fit("sleepstudy", "numpy")
    broken = MUTATIONS["scale sigma2"](fit)
    known = [Known("numpy", ["WRONG_COMPUTATION"], silent=True)]
    assert bench.judge("sleepstudy", broken, known=known).expected
    gone = bench.judge("sleepstudy", fit, known=known)
    assert not gone.expected
    assert "known difference is gone" in gone.surprise


def test_a_known_difference_says_whether_the_engine_warns(bench: Bench) -> None:
    """An engine that stops warning of its wrong numbers, or begins to, would be no news."""
    broken = MUTATIONS["scale sigma2"](bench.fit("sleepstudy", "numpy"))
    warned = broken.having(messages=("it did not go well",))
    refused = broken.having(status="refused", rows=(), reason="no")
    both = ["WRONG_COMPUTATION", "REFUSED"]

    def told(fit: Fit, silent: bool | str) -> str:
        return bench.judge("sleepstudy", fit, known=[Known("numpy", both, silent=silent)]).surprise

    assert [told(fit, True) == "" for fit in (broken, warned, refused)] == [True, False, True]
    assert [told(fit, False) == "" for fit in (broken, warned, refused)] == [False, True, True]
    assert [told(fit, "varies") for fit in (broken, warned, refused)] == ["", "", ""]
    assert "set silent = true" in told(broken, False)
    assert "set silent = false" in told(warned, True)


def test_of_many_levels_the_worst_are_listed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand BLUPs would all be listed, or the one that is wrong be left out."""
    fit = bench.fit("sleepstudy", "numpy")
    wrong = fit.having(
        rows=tuple(r._replace(estimate=r.estimate + 50) if r.level == ("335",) else r for r in fit.rows)
    )
    every = bench.judge("sleepstudy", wrong)
    monkeypatch.setattr("bridge.comparison.LISTED", 2)
    some = bench.judge("sleepstudy", wrong)
    levels = [dict.fromkeys(r.level for r in j.rows if r.quantity == "BLUP") for j in (every, some)]
    assert [len(found) for found in levels] == [18, 2]
    assert ("335",) in levels[1]
    assert [r for r in every.failing if r.quantity == "BLUP"] == [
        r for r in some.failing if r.quantity == "BLUP"
    ]
    assert (some.verdict, some.reason) == (every.verdict, every.reason)


@pytest.mark.parametrize(("message", "claim"), [
    ("ConvergenceWarning: the gradient is not zero", "warned"),
    ("FutureWarning: this argument goes", "ok"),
    ("DeprecationWarning: np.product goes", "ok"),
    ("UserWarning: interlace: scikit-sparse (CHOLMOD) is not installed. Slower without it.", "ok"),
    ("UserWarning: the optimum is not installed in its basin", "warned"),
])  # fmt: skip
def test_what_is_said_of_the_software_is_no_warning(bench: Bench, message: str, claim: str) -> None:
    """Advice on a package, given once a process, would pass for a warning of a wrong answer."""
    fit = bench.fit("sleepstudy", "numpy").having(messages=(message,))
    assert bench.judge("sleepstudy", fit).claim == claim


@pytest.mark.parametrize(("status", "verdict", "expected"), [
    ("refused", Verdict.REFUSED, False),
    ("crashed", Verdict.CRASHED, False),
    ("timed_out", Verdict.TIMED_OUT, False),
    ("unsupported", Verdict.UNSUPPORTED, True),
    ("unavailable", Verdict.UNAVAILABLE, True),
])  # fmt: skip
def test_no_numbers_is_a_verdict_of_its_own(
    bench: Bench, status: str, verdict: Verdict, expected: bool
) -> None:
    """A crash must not be an agreement, an absent engine must not be a failure."""
    found = bench.judge("sleepstudy", Fit("numpy", "REML", "default", status, reason="why"))
    assert (found.verdict, found.expected) == (verdict, expected)
    assert not found.verdict.passes


def test_where_nothing_is_identified_only_a_refusal_is_right(bench: Bench) -> None:
    """Numbers for an unidentified model fail, refusing passes."""
    fit = bench.fit("sleepstudy", "numpy")
    numbers = bench.judge("sleepstudy", fit, expect="unidentified")
    refusal = bench.judge("sleepstudy", fit.having(status="refused", rows=()), expect="unidentified")
    assert (numbers.verdict, numbers.expected) == (Verdict.UNIDENTIFIED, False)
    assert (refusal.verdict, refusal.expected) == (Verdict.REFUSED, True)

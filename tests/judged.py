"""An Agreement for the tests of reports: real fits of small tables, and hostile texts in every place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from bridge.agreement import Agreement
from bridge.catalogue import session
from bridge.entry import Entry
from bridge.report.results import Results
from bridge.verdict import Judgement, Verdict
from tests.front import FORMULA, clusters

HOSTILE = "<script>document.title='run'</script>"
BREAKING = "</script><img src=x onerror=\"document.title='run'\">"


@dataclass(frozen=True)
class Known:
    """A known difference whose link would run if it were followed."""

    reason: str = f"because {HOSTILE}"
    verdicts: tuple[Verdict, ...] = (Verdict.WORSE_OPTIMUM,)
    size: str = "gap 3"
    versions: str = ""
    link: str = "javascript:document.title='run'"

    def matches(self, *_: object) -> bool:
        """Always."""
        return True


def agreement() -> Agreement:
    """Two cases, one with a hostile name; numpy, and copies of its fits as lme4's and statsmodels'.

    statsmodels' tight fit of `plain` by REML is beyond tolerance, not expected and silent; lme4's of the
    other case is a known difference with hostile texts.
    """
    data = Entry.of_data(clusters(), FORMULA, methods=("REML", "ML"))
    labels = clusters(2)
    labels["g"] = labels["g"] + HOSTILE
    nasty = Entry.of_data(labels, FORMULA, methods=("REML", "ML"))
    entries = [replace(data, name="plain"), replace(nasty, name=HOSTILE)]
    with session() as referee:
        real = referee.judge(entries, engines=["numpy"], profiles=("default", "tight"))
    judged = [made for j in real.judgements for made in (j, _copy(j, "statsmodels"), _copy(j, "lme4"))]
    return Agreement(tuple(map(_marked, judged)), (f"a note {HOSTILE}",), (), tuple(entries))


def _copy(j: Judgement, engine: str) -> Judgement:
    fit = j.fit.having(engine=engine, versions={engine: "1.0"})
    return replace(j, fit=fit)


def _marked(j: Judgement) -> Judgement:
    where = (j.case, j.fit.method, j.fit.engine, j.fit.profile)
    if where == ("plain", "REML", "statsmodels", "tight"):
        rows = tuple(
            replace(r, estimate=r.estimate + 1, difference=9.0) if r.quantity == "beta" else r for r in j.rows
        )
        surprise = "no known difference speaks of it"
        return replace(
            j, verdict=Verdict.WORSE_OPTIMUM, rows=rows, expected=False, surprise=surprise, claim="ok"
        )
    if where[0] == HOSTILE and where[2] == "lme4":
        fit = j.fit.having(messages=(BREAKING,), versions={"lme4": HOSTILE})
        return replace(
            j, fit=fit, verdict=Verdict.WORSE_OPTIMUM, reason=BREAKING, known=Known(), claim="warned"
        )
    return j


def multiplied(results: Results, times: int, engines: int) -> Results:
    """The same with each case so many times, and each engine under so many names."""
    cases = [
        case.model_copy(update={"name": f"{case.name}-{i}"})
        for i, case in product(range(times), results.cases)
    ]
    fits = []
    for i, fit, k in product(range(times), results.fits, range(engines)):
        name = f"{fit.engine}{k}" if k else fit.engine
        fits.append(fit.model_copy(update={"case": f"{fit.case}-{i}", "engine": name}))
    made = [
        engine.model_copy(update={"name": f"{engine.name}{k}" if k else engine.name})
        for k, engine in product(range(engines), results.engines)
    ]
    return results.model_copy(update={"cases": tuple(cases), "fits": tuple(fits), "engines": tuple(made)})

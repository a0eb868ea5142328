"""interlace-lme (``import interlace``): its formula over aliases, its answer by name and label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bridge.engines import python, rows
from bridge.engines.attempt import Answer, versions
from bridge.fit import Fit, Method, Profile, Row
from bridge.model import Model

BOBYQA = "py-bobyqa"


def key(name: str) -> tuple[str, ...]:
    """A coefficient without the ways to write it: R's ``v1b:v2``, formulaic's ``v2:v1[T.b]``."""
    if name in ("Intercept", "(Intercept)"):
        return ("1",)
    for bracket in ("[T.", "[", "]"):
        name = name.replace(bracket, "")
    return tuple(sorted(name.split(":")))


def blocks(model: Model) -> dict[str, list[int]]:
    """Group to its terms: interlace keys its answer by group."""
    found: dict[str, list[int]] = {}
    for i, term in enumerate(model.random):
        found.setdefault(term.group, []).append(i)
    return found


def random(model: Model) -> list[str]:
    """The random terms as interlace reads them; ``g<i>`` is the column of labels made for a group."""
    written = []
    for g, terms in enumerate(blocks(model).values()):
        names = [name for i in terms for name in model.spelling.random_names[i]]
        right = " + ".join(["1" if "(Intercept)" in names else "0", *(n for n in names if n[0] != "(")])
        written.append(f"({right} {'|' if len(terms) == 1 else '||'} g{g})")
    return written


class Interlace(python.Adapter):
    """interlace.fit. Standard errors are sqrt diag Phi.

    Its df are left out: it calls them Satterthwaite's, but profiles sigma out and so counts it as known
    (7.08 for Rail's 5), and takes the REML criterion for ML fits, too. No other engine means that.

    `default` is a plain call (L-BFGS-B); `tight` is ``optimizer="bobyqa"``, the most careful of its
    three, which has no tolerance to set. An interaction of grouping factors is handed over as a column.
    """

    name = family = "interlace-lme"
    packages = ("interlace-lme", "formulaic", "numpy", "scipy")
    module = "interlace"

    def supports(self, model: Model, method: Method) -> str | None:
        """None if interlace can express the model, else the reason."""
        if reason := super().supports(model, method):
            return reason
        spelling = model.spelling
        for name in spelling.fixed.split(" ~ ")[1].replace(":", " + ").split(" + ")[1:]:
            if getattr(model.data[name].dtype, "ordered", False):
                return "interlace codes an ordered factor by treatment contrasts, lme4 by polynomials"
        if len({key(name) for name in spelling.fixed_names}) < model.p:
            return "interlace names two coefficients so much alike that they cannot be told apart"
        for names, term in zip(spelling.random_names, model.random, strict=True):
            for alias, name in names.items():
                numeric = alias in model.data and model.data[alias].dtype == np.float64
                if alias != "(Intercept)" and not numeric:
                    return f"interlace takes numeric columns as random slopes; {name} by {term.group} is none"
        for group, terms in blocks(model).items():
            if len(terms) > 1 and any(len(model.random[i].names) > 1 for i in terms):
                return f"interlace takes one term with correlated effects a group; {group} has another"
        return None

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit; see `call`.

        Raises
        ------
        UnavailableError
            Py-BOBYQA, which `tight` needs, is not installed.
        """
        more = versions(self.name, BOBYQA) if profile == "tight" else {}
        fit = super().fit(model, method, profile)
        return fit.having(versions={**fit.versions, **more})

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """By formula; weights are precision weights."""
        import interlace

        given = {"weights": model.spelling.weights, "offset": model.spelling.offset}
        options: dict[str, Any] = {k: model.data[v].to_numpy() for k, v in given.items() if v}
        if profile == "tight":
            options["optimizer"] = "bobyqa"
        data = model.data.copy()
        for g, terms in enumerate(blocks(model).values()):
            factors = [data[alias].astype(str) for alias in model.spelling.random[terms[0]][1]]
            data[f"g{g}"] = factors[0].str.cat(factors[1:], sep=":")

        def run() -> Answer:
            fixed = model.spelling.fixed
            return answer(model, interlace.fit(fixed, data, method=method, random=random(model), **options))

        return run


def answer(model: Model, result: Any) -> Answer:
    """Rows by the model's names; a level that interlace does not give stays missing."""
    names = {key(alias): name for alias, name in model.spelling.fixed_names.items()}
    found = [
        Row("fixed", names.get(key(alias), alias), float(b), std_error=float(result.fe_bse[alias]))
        for alias, b in result.fe_params.items()
    ]
    for g, terms in enumerate(blocks(model).values()):
        found += _block(model, terms, result.variance_components[f"g{g}"], result.random_effects[f"g{g}"])
    found.append(rows.residual(result.scale))
    return {"rows": tuple(found), **python.facts(result)}


def _block(model: Model, terms: list[int], variance: Any, effects: Any) -> Iterator[Row]:
    """One group: a variance and a Series for a single coefficient, else frames of G and of levels."""
    for i in terms:
        term, aliases = model.random[i], model.spelling.random_names[i]
        columns = sorted(aliases, key=lambda alias: term.names.index(aliases[alias]))
        whole = np.ndim(variance) == 0
        yield from rows.covariance(term, np.full((1, 1), variance) if whole else _square(variance, columns))
        levels = {":".join(level): level for level in term.levels}
        for name, column in zip(term.names, columns, strict=True):
            for label, value in (effects if whole else effects[column]).items():
                level = levels.get(str(label), (str(label),))
                yield Row("ran_vals", name, float(value), term.group, level)


def _square(frame: Any, names: list[str]) -> Any:
    return frame.loc[names, names].to_numpy()

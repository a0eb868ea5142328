"""kamino-lme (``import kamino``): its formula over aliases, its answer by name and label."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bridge.engines import python, rows
from bridge.engines.attempt import Answer
from bridge.fit import Method, Profile, Row
from bridge.model import Matrix, Model, RandomTerm


def tokens(model: Model) -> list[str] | str:
    """The fixed part as kamino reads it (``1 + v1 + v2 + v1*v2``), or why it cannot."""
    first, *written = model.spelling.fixed.split(" ~ ")[1].split(" + ")
    if first != "1":
        return "kamino always fits an intercept; this model has none"
    for term in written:
        names = term.split(":")
        for name in names:
            if getattr(model.data[name].dtype, "ordered", False):
                return "kamino codes an ordered factor by treatment contrasts, lme4 by polynomials"
        if len(names) > 2:
            return "kamino takes interactions of two variables, and this model has one of more"
        if not {*names} <= {*written}:
            return "kamino takes an interaction only beside both of its main effects"
    return [first, *(term.replace(":", "*") for term in written)]


def bars(model: Model, fixed: list[str]) -> list[str] | str:
    """The random terms as kamino reads them, or why it cannot."""
    spelled = model.spelling.random
    if not spelled:
        return "kamino needs a random term"
    for (right, factors), term in zip(spelled, model.random, strict=True):
        shown = f"({', '.join(term.names[:2])} | {term.group})"
        intercept, *slopes = right.split(" + ")
        if len(slopes) > 1:
            return f"kamino takes one random slope a term; {shown} has {len(slopes)}"
        if not {*slopes} <= {*fixed}:
            return f"kamino takes a random slope only if it is a fixed effect too; {shown}"
        if len(factors) > 2 or (len(factors) > 1 and len(spelled) == 1):
            return "kamino takes an interaction of two grouping factors, beside another random term"
        if intercept == "0" and not _independent(model):
            return f"kamino takes {shown} only beside (1 | {term.group}) and nothing else"
    if not _independent(model) and len({factors for _, factors in spelled}) < len(spelled):
        return "kamino takes a grouping factor twice only as (1 | g) + (0 + x | g), and nothing else"
    written = sorted(spelled, reverse=True) if _independent(model) else spelled
    return [f"({right} | {':'.join(factors)})" for right, factors in written]


def _independent(model: Model) -> bool:
    """Whether it is ``(1 | g) + (0 + x | g)`` with a numeric x, the one ``(x || g)`` that there is."""
    if len(model.spelling.random) != 2:
        return False
    (second, g), (first, f) = sorted(model.spelling.random)
    numeric = second[4:] in model.data and model.data[second[4:]].dtype == np.float64
    return first == "1" and second.startswith("0 + ") and f == g and len(f) == 1 and numeric


def formula(model: Model) -> str | None:
    """The whole formula, None if it cannot be written (`Kamino.supports` says why)."""
    fixed = tokens(model)
    random = fixed if isinstance(fixed, str) else bars(model, fixed)
    if isinstance(fixed, str) or isinstance(random, str):
        return None
    return f"v0 ~ {' + '.join([*fixed, *random])}"


class Kamino(python.Adapter):
    """kamino.lmer. Standard errors are sqrt diag Phi.

    `default` is a plain call; `tight` lowers the tolerance of its optimiser on theta from 1e-10 to 1e-12
    and gives it ten times the evaluations (1e-14 is below what a criterion in doubles can tell).
    """

    name = family = "kamino-lme"
    packages = ("kamino-lme", "formulae", "numpy", "scipy")
    module = "kamino"

    def supports(self, model: Model, method: Method) -> str | None:
        """None if kamino's formula can express the model, else the reason."""
        fixed = tokens(model)
        random = fixed if isinstance(fixed, str) else bars(model, fixed)
        return random if isinstance(random, str) else None

    def call(self, model: Model, method: Method, profile: Profile) -> python.Call:
        """By formula; weights are precision weights."""
        import kamino

        given = {"weights": model.spelling.weights, "offset": model.spelling.offset}
        options: dict[str, Any] = {k: model.data[v].to_numpy() for k, v in given.items() if v}
        if profile == "tight":
            options["control"] = kamino.FitControl(
                absolute_theta_tolerance=1e-12, maximum_evaluations=100_000
            )

        def run() -> Answer:
            return answer(model, kamino.lmer(formula(model), model.data, reml=method == "REML", **options))

        return run


def parts(alias: str) -> tuple[str, ...]:
    """A coefficient's parts: kamino may give an interaction ``v1:v2b`` back as ``v2b:v1``."""
    return tuple(sorted(alias.split(":")))


def answer(model: Model, result: Any) -> Answer:
    """Rows by the model's names; a level that kamino does not give stays missing."""
    errors = np.sqrt(np.diag(result.beta_covariance))
    ours = {parts(alias): name for alias, name in model.spelling.fixed_names.items()}
    found = [
        Row("fixed", ours.get(parts(name), name), float(b), std_error=float(se))
        for name, b, se in zip(result.fixed_names, result.beta, errors, strict=True)
    ]
    if _independent(model):
        G = np.asarray(result.random_covariance)
        b = np.asarray(result.random_effects).reshape(-1, 2)
        for term in model.random:
            j = int(term.names != ("(Intercept)",))
            found += rows.covariance(term, G[j : j + 1, j : j + 1])
            found += blups(term, result.group_levels, b[:, j : j + 1])
    else:
        found += _blocks(model, result)
    found.append(rows.residual(result.sigma2))
    said = result.diagnostics
    return {
        "rows": tuple(found),
        "loglik": float(result.log_likelihood),
        "sigma": math.sqrt(result.sigma2),
        "n": len(result.row_ids),
        "converged": bool(said.converged),
        "messages": (said.message,) if said.boundary or not said.converged else (),
    }


def _blocks(model: Model, result: Any) -> Iterator[Row]:
    """Covariance and conditional means of each term; several come with the most levels first."""
    spelled = [":".join(factors) for _, factors in model.spelling.random]
    block = effect = 0
    for given in result.random_terms or [result]:
        i = spelled.index(given.group_name)
        term, names = model.random[i], model.spelling.random_names[i]
        order = [[names[c] for c in given.random_coefficient_names].index(name) for name in term.names]
        k, count = len(order), len(given.group_levels)
        G = np.asarray(result.random_covariance)[block : block + k, block : block + k]
        b = np.asarray(result.random_effects)[effect : effect + k * count].reshape(count, k)
        yield from rows.covariance(term, G[np.ix_(order, order)])
        yield from blups(term, given.group_levels, b[:, order])
        block, effect = block + k, effect + k * count


def blups(term: RandomTerm, labels: tuple[str, ...], b: Matrix) -> Iterator[Row]:
    """Conditional means (levels, k) by kamino's label of a level, ``a:b`` for an interaction."""
    levels = {":".join(level): level for level in term.levels}
    for label, values in zip(labels, b.tolist(), strict=True):
        for name, value in zip(term.names, values, strict=True):
            yield Row("ran_vals", name, value, term.group, levels.get(label, (label,)))

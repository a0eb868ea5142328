"""Reasons: why lm and the mixed model differ, in sentences computed from the numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bridge.levels import Levels, constant_within
from bridge.report.text import listed

if TYPE_CHECKING:
    from bridge.explanation import Explanation


def percent(share: float) -> str:
    """``7.5 %``; an eighth is 12 % whatever a machine's last digit."""
    parts = float(f"{100 * share:.9g}")
    return f"{parts:.0f} %" if parts >= 99.5 else f"{parts:.2g} %"


def figure(value: float, digits: int = 3) -> str:
    """A number in running text, with a proper minus sign."""
    return "none" if math.isnan(value) else f"{value:.{digits}g}".replace("-", "−")


def signed(value: float, most: float = 0.0) -> str:
    """The same with its sign; 0 if it is rounding beside `most`."""
    if abs(value) <= 1e-12 * most:
        return "0"
    return f"{value:+.3g}".replace("-", "−")


def sentences(found: Explanation) -> tuple[str, ...]:
    """The answer in plain words: what differs, which cluster does it and why, and what it costs."""
    said = [_difference(found)]
    p, k = found.pooling, found.k
    if p.singular:
        said.append(
            "The variance between clusters is estimated as 0 (a singular fit), so pooling is complete: "
            "every weight is lm's, and so is the line."
        )
        return (*said, *found.notes)
    said.append(_variances(found))
    if p.clusters is None:
        said.append(
            f"{listed([lv.group for lv in p.levels])} are crossed: no group of rows is independent of the "
            "rest, so weights are given level by level and there is no effective number of clusters."
        )
        parts = [f"{percent(float(lv.source[:, k].sum()))} from {lv.group}" for lv in p.levels]
        said.append(
            f"Of its variance, {', '.join(parts)}, {percent(float(p.residual[k]))} from the residual."
        )
    levels = p.levels[0]
    said.append(_culprit(found, levels))
    if p.clusters is not None:
        said += [_order(found, levels), _efficiency(found, levels), _screen(found)]
    if found.others:
        worst = max(found.difference(name) for name in found.others)
        names = listed(list(found.others))
        said.append(f"By {names} no shift weight differs by more than {worst:.1g} from {found.engine}'s.")
    return (*(s for s in said if s), *found.notes)


def _difference(found: Explanation) -> str:
    p, k, name = found.pooling, found.k, found.coefficient
    off = p.beta_lm[k] - p.beta[k]
    whose = "at the exact optimum" if found.engine == "optimum" else f"by {found.engine}"
    start = f"{name} is {figure(p.beta[k], 4)} in the mixed model ({found.method}, {whose})"
    if abs(off) < 1e-9 * p.std_error[k]:
        return f"{start} and the same in lm."
    return (
        f"{start} and {figure(p.beta_lm[k], 4)} in lm: lm's is {figure(abs(off))} "
        f"{'higher' if off > 0 else 'lower'}, {figure(abs(off) / p.std_error[k], 2)} of the mixed "
        "model's standard errors."
    )


def _variances(found: Explanation) -> str:
    """tau2 where it is one number, sigma2 and the ICC: what the weights are made of."""
    p = found.pooling
    one = len(p.levels) == 1 and p.levels[0].names == ("(Intercept)",)
    between = f"tau² = {figure(float(p.leverage.groupings[0].psi[0, 0]))} between clusters, " if one else ""
    of = "" if one and p.model.weights is None else " (what of a row's variance, on average, is not residual)"
    return f"Variances: {between}sigma² = {figure(p.sigma2)} residual; ICC {figure(p.icc)}{of}."


def _culprit(found: Explanation, levels: Levels) -> str:
    """The level that contributes most to the difference, and the reason for its weight."""
    p, k = found.pooling, found.k
    off = p.beta_lm[k] - p.beta[k]
    if abs(off) < 1e-9 * p.std_error[k]:
        row, mixed = p.leverage.lm[:, k], p.leverage.mixed[:, k]
        noun = "cluster" if levels.independent else "row"
        if np.max(np.abs(row - mixed)) < 1e-9 * np.max(np.abs(row)):
            return f"Every {noun} weighs the same in both: the design is balanced in {found.coefficient}."
        return "Weights differ, but their pulls cancel out here."
    j = int(np.argmax(levels.lean[:, k] * np.sign(off)))
    lean = levels.lean[j, k]
    gained = levels.mixed.share[j, k] > levels.lm.share[j, k]
    where = ""
    if levels.names == ("(Intercept)",):
        mean = p.model.X @ p.beta
        here = p.grouping(levels).index == j
        gap = levels.none[j, 0] - float(np.mean(mean[here]))
        where = f"; its mean is {figure(abs(gap))} {'above' if gap > 0 else 'below'} the mixed model's line"
    return (
        f"{_part(lean, off)} is due to {levels.group} {levels.labels[j]}: it has {levels.rows[j]} of "
        f"{p.model.n} rows and carries {percent(levels.lm.share[j, k])} of {found.coefficient}'s weight in "
        f"lm, {percent(levels.mixed.share[j, k])} in the mixed model{where}. "
        f"{_reason(found, levels, j, gained)}"
    )


def _part(lean: float, off: float) -> str:
    """How much of the difference one cluster makes."""
    share = lean / off
    if share > 1.005:
        return f"More than all of the difference ({figure(lean)}; others offset it)"
    return f"{'Most' if share > 0.5 else 'The largest part'} of the difference ({percent(share)})"


def _reason(found: Explanation, levels: Levels, j: int, gained: bool) -> str:
    """Why a level weighs what it weighs."""
    p = found.pooling
    simple = len(p.levels) == 1 and levels.names == ("(Intercept)",)
    if simple and constant_within(p.model.X[:, [found.k]], p.leverage.unit) and p.model.weights is None:
        tau2 = float(p.leverage.groupings[0].psi[0, 0])
        noise = p.sigma2 / levels.rows[j]
        compared = "smaller" if noise < tau2 else "larger"
        return (
            f"That is {'more' if gained else 'less'} because clusters differ: the variance between them "
            f"(tau² = {figure(tau2)}) is in the variance of every cluster's mean, tau² + sigma²/n, beside "
            f"the noise of its rows (sigma²/n = {figure(noise)} here, {compared} than tau²). A weight of "
            f"1/(tau² + sigma²/n) cannot pass 1/tau² however large a cluster is; lm's, n, grows without end."
        )
    if constant_within(p.model.X[:, [found.k]], p.leverage.unit):
        return (
            "Rows of a cluster repeat what they have in common, so in the mixed model further rows of one "
            f"add ever less (here {figure(levels.size[j])} effective ones); in lm each counts in full."
            if levels.independent
            else ""
        )
    if found.coefficient in levels.names:
        i = levels.names.index(found.coefficient)
        variance = float(p.grouping(levels).psi[i, i])
        return (
            f"The slope itself varies by {levels.group} (variance {figure(variance)}), so each "
            "level's slope counts by 1/(that variance + its own noise), which more rows cannot raise above "
            f"1/{figure(variance)}; in lm a level counts by the spread of its {found.coefficient}."
        )
    return (
        f"{found.coefficient} varies within {levels.group}: the mixed model compares mostly rows of the "
        "same level, and lm also compares levels, which differ by more than the residual."
    )


def _order(found: Explanation, levels: Levels) -> str:
    """The smallest cluster and the largest with the same x: who weighs less, and the pooling factors."""
    p, k, rows = found.pooling, found.k, levels.rows
    if not p.closed:
        return ""
    X = np.zeros((len(rows), p.model.p))
    X[p.grouping(levels).index] = p.model.X
    weighs = np.abs(levels.mixed.shift[:, k]) > 1e-9 * np.max(np.abs(levels.mixed.shift[:, k]))
    small = int(np.argmin(np.where(weighs, rows, rows.max() + 1)))
    large = int(np.argmax(np.where(np.all(X[small] == X, axis=1), rows, 0)))
    if rows[small] == rows[large]:
        return ""
    a, b = (figure(levels.eigenvalues[j, 0]) for j in (small, large))
    return (
        f"A small cluster still weighs less than a large one, and is shrunk more: {levels.labels[small]} "
        f"({rows[small]} rows) carries {percent(levels.mixed.share[small, k])} and {levels.labels[large]} "
        f"({rows[large]} rows) {percent(levels.mixed.share[large, k])}, pooling factors {a} and {b} (the "
        f"weight is the pooling factor over tau²); in lm {percent(levels.lm.share[small, k])} and "
        f"{percent(levels.lm.share[large, k])}."
    )


def _efficiency(found: Explanation, levels: Levels) -> str:
    p, k = found.pooling, found.k
    mixed, lm = levels.mixed.effective, levels.lm.effective
    assert mixed is not None
    assert lm is not None
    q = levels.mixed.variance
    assert q is not None
    j = int(np.argmax(q[:, k]))
    alone = f": {levels.labels[j]} alone makes {percent(q[j, k])} of its variance" if q[j, k] > 0.5 else ""
    return (
        f"{len(levels.rows)} clusters count as {figure(mixed[k])} equal ones in the mixed model{alone}, as "
        f"{figure(lm[k])} in lm. If the model holds, its standard error is {figure(p.std_error[k])} and lm's "
        f"{figure(p.std_error_lm[k])} (efficiency {percent(p.efficiency[k])}); lm, which takes rows for "
        f"independent, prints {figure(p.printed[k])}."
    )


def _screen(found: Explanation) -> str:
    s = found.pooling.screen
    if s.reason:
        return ""
    if abs(s.z) < 2:
        verdict = "this screen cannot tell whether cluster size is informative"
    else:
        verdict = (
            "a sign of informative cluster size: lm (a mean over rows) and the mixed model (closer to a mean "
            "over clusters) then estimate different things; decide which is asked for"
        )
    return (
        f"A cluster's mean changes by {signed(s.slope)} (z = {figure(s.z, 2)}) with each factor of e in "
        f"size: {verdict}."
    )

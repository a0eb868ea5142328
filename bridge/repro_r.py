"""Calls in R: how a script calls each R engine, plainly, as `bridge.engines` does.

Each function gives the lines that end with `loglik`, `beta` and `se` in the model's order. The script has
made `data` (the aliased table) and, from its complete rows, `y`, `X`, `Z` and `g` (a random term each).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from bridge.engines import nlme as adapter
from bridge.model import Model, RandomTerm
from bridge.repro_call import Call, roles
from bridge.resources import find


def from_r(file: str, *functions: str) -> str:
    """Source of functions of the folder ``r``, for what a single call cannot say."""
    source = (find("r") / f"{file}.R").read_text(encoding="utf-8")
    found = [
        re.search(rf"^{name} <- function.*?^}}$", source, re.MULTILINE | re.DOTALL) for name in functions
    ]
    return "\n".join(match[0] for match in found if match)


def _names(call: Call) -> str:
    """Aliased coefficients in the model's order, as R's vector."""
    ours = {name: alias for alias, name in call.model.spelling.fixed_names.items()}
    return "c(" + ", ".join(f'"{ours[name]}"' for name in call.model.names) + ")"


def _r(call: Call, fit: str, beta: str, variance: str, loglik: str = "as.numeric(logLik(fit))") -> str:
    return "\n".join(
        [
            fit,
            f"loglik <- {loglik}",
            f"beta <- {beta}[{_names(call)}]",
            f"se <- sqrt(diag(as.matrix({variance})))[{_names(call)}]",
        ]
    )


def _lmer(call: Call, lmer: str) -> str:
    f, known = call.model.spelling.formula, roles(call, "{role} = {alias}")
    reml = "TRUE" if call.method == "REML" else "FALSE"
    if not call.tight:
        return f"fit <- {lmer}({f}, data, REML = {reml}{known})"
    given = roles(call, '{role} = "{alias}"')
    careful = from_r("tidy", "with_columns"), from_r("lme4", "tight_lme4")
    return "\n".join([*careful, f"fit <- tight_lme4({f}, data, {reml}{given}, last = {lmer})"])


def lme4(call: Call) -> str:
    """lme4::lmer."""
    return _r(call, _lmer(call, "lme4::lmer"), "lme4::fixef(fit)", "vcov(fit)")


def lmertest(call: Call) -> str:
    """LmerTest's lmer, and its degrees of freedom."""
    numbers = _r(call, _lmer(call, "lmerTest::lmer"), "lme4::fixef(fit)", "vcov(fit)")
    return f"{numbers}\nprint(coef(summary(fit)))  # with Satterthwaite's df"


def pbkrtest(call: Call) -> str:
    """lme4's fit with the adjusted covariance matrix."""
    numbers = _r(call, _lmer(call, "lme4::lmer"), "lme4::fixef(fit)", "pbkrtest::vcovAdj(fit)")
    one = "function(one) pbkrtest::Lb_ddf(one, vcov(fit), pbkrtest::vcovAdj(fit))"
    return f'{numbers}\ncat("df (Kenward-Roger)", apply(diag(length(beta)), 1, {one}), "\\n")'


def glmmtmb(call: Call) -> str:
    """glmmTMB::glmmTMB."""
    f, reml = call.model.spelling.plain, "TRUE" if call.method == "REML" else "FALSE"
    lines, dispersion, errors = [], "", call.model.spelling.errors
    if errors is not None and errors.position is not None:
        steps = f"data${errors.position.text}"
        lines.append(f"data$step <- factor({steps}, levels = seq(min({steps}), max({steps})))")
        f, dispersion = f"{f} + ar1(0 + step | {errors.group.text})", "~ 0"
    elif errors is not None:
        dispersion = f"~ factor({errors.group.text}, ordered = FALSE)"
    if call.tight:
        lines += [from_r("tidy", "with_columns"), from_r("glmmTMB", "glmmTMB_call", "tight_glmmTMB")]
        lines.append(f"model <- list(formula = {f}, data = data, dispersion = {dispersion or '~ 1'})")
        given = roles(call, '{role} = "{alias}"')
        lines.append(f"fit <- tight_glmmTMB(model, {reml}{given})")
    else:
        given = roles(call, "{role} = {alias}") + (f", dispformula = {dispersion}" if dispersion else "")
        lines.append(f"fit <- glmmTMB::glmmTMB({f}, data, REML = {reml}{given})")
    return _r(call, "\n".join(lines), "glmmTMB::fixef(fit)$cond", "vcov(fit)$cond")


def lm(call: Call) -> str:
    """stats::lm: no groups."""
    fit = f"fit <- lm({call.model.spelling.fixed}, data{roles(call, '{role} = {alias}')})"
    reml = call.method == "REML"
    ratio = "" if reml else " * df.residual(fit) / nobs(fit)"
    loglik = f"as.numeric(logLik(fit, REML = {'TRUE' if reml else 'FALSE'}))"
    return _r(call, fit, "coef(fit)", f"vcov(fit){ratio}", loglik)


def nlme(call: Call) -> str:
    """nlme::lme, its random part as a list."""
    spelling = call.model.spelling
    lines = [
        f'data${_column(factors)} <- interaction(data[c({_quoted(factors)})], drop = TRUE, sep = ":")'
        for factors in dict.fromkeys(factors for _, factors in spelling.random)
        if len(factors) > 1
    ]
    nested, crossed = _layout(call.model)
    if crossed:
        lines.append("data$all_rows <- factor(rep(1, nrow(data)))")
    entries = [*_ident(call.model, crossed), *(f"{_column(g)} = {_block(call.model, g)}" for g in nested)]
    lines.append(f"random <- list({', '.join(entries)})")
    variance = [f"nlme::varFixed(~ 1 / {spelling.weights})"] if spelling.weights else []
    correlation = ""
    if (errors := spelling.errors) is not None and errors.position is not None:
        series = errors.text.removeprefix("corAR1(").removesuffix(")")
        lines.append(f"data${errors.position.text} <- as.integer(data${errors.position.text})")
        correlation = f"nlme::corAR1(form = ~ {series})"
    elif errors is not None:
        variance.append(f"nlme::varIdent(form = ~ 1 | {errors.group.text})")
    both = f"nlme::varComb({', '.join(variance)})"
    weights = both if len(variance) > 1 else "".join(variance)
    if call.tight:
        made = f"list(fixed = {spelling.fixed}, data = data, random = random)"
        roles_tight = (("variance", weights), ("correlation", correlation))
        given = "".join(f", {role} = {value}" for role, value in roles_tight if value)
        lines += [from_r("nlme", "tight_nlme"), f'fit <- tight_nlme({made}, "{call.method}"{given})']
    else:
        roles_plain = (("weights", weights), ("correlation", correlation))
        given = "".join(f", {role} = {value}" for role, value in roles_plain if value)
        lines.append(
            f'fit <- nlme::lme({spelling.fixed}, data, random = random, method = "{call.method}"{given})'
        )
    return _r(call, "\n".join(lines), "nlme::fixef(fit)", "fit$varFix")


def _column(factors: Sequence[str]) -> str:
    return ".".join(factors)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _layout(model: Model) -> tuple[list[tuple[str, ...]], list[int]]:
    """Groups that lme() nests, coarsest first, and the terms that it takes as crossed."""
    factors = [f for _, f in model.spelling.random]
    of: dict[tuple[str, ...], RandomTerm] = {}
    for f, term in zip(factors, model.random, strict=True):
        of.setdefault(f, term)
    groups = sorted(of, key=lambda f: len(of[f].levels))
    chain = all(adapter.refines(of[b], of[a]) for a, b in pairwise(groups))
    wide = {f for f, term in zip(factors, model.random, strict=True) if len(term.names) > 1}
    nested = groups if chain else [g for g in groups if g in wide]
    return nested, [i for i, f in enumerate(factors) if f not in nested]


def _ident(model: Model, crossed: Sequence[int]) -> list[str]:
    found = []
    for i in crossed:
        right, factors = model.spelling.random[i]
        slope = right.removeprefix("0 + ") if right.startswith("0 + ") else ""
        by = f"{_column(factors)}:{slope}" if slope else _column(factors)
        found.append(f"nlme::pdIdent(~ {by} - 1)")
    if not found:
        return []
    return ["all_rows = " + (found[0] if len(found) == 1 else f"nlme::pdBlocked(list({', '.join(found)}))")]


def _block(model: Model, group: tuple[str, ...]) -> str:
    """lme()'s random part of one group: a general matrix, a diagonal one, or blocks of general ones."""
    rights = [right for right, f in model.spelling.random if f == group]
    if len(rights) == 1:
        return f"~ {rights[0]}"
    wide = [t for (_, f), t in zip(model.spelling.random, model.random, strict=True) if f == group]
    if any(len(term.names) > 1 for term in wide):
        return f"nlme::pdBlocked(list({', '.join(f'nlme::pdLogChol(~ {right})' for right in rights)}))"
    slopes = [right.removeprefix("0 + ") for right in rights if right != "1"]
    return f"nlme::pdDiag(~ {' + '.join(['1' if len(slopes) < len(rights) else '0', *slopes])})"

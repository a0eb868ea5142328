"""Calls: how a script calls each engine, plainly, as `bridge.engines` does; one function an engine.

Each gives the lines that end with `loglik`, `beta` and `se` in the model's order. The script has made
`data` (the aliased table) and, from its complete rows, `y`, `X`, `Z` and `g` (a random term each).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bridge.engines import nlme, statsmodels
from bridge.engines.engine import Engine
from bridge.engines.gpboost import components, intercept
from bridge.engines.interlace import blocks, random
from bridge.engines.kamino import formula
from bridge.engines.table import Table
from bridge.fit import Method, Profile
from bridge.model import Model, RandomTerm
from bridge.resources import find


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """What is called: an engine on a model.

    Attributes
    ----------
    engine : Engine
    model : Model
        For a complete-pooling baseline, the one without random terms.
    method, profile : str
    table : Table or None
        The data of engines that read coefficients as columns of their own.
    """

    engine: Engine
    model: Model
    method: Method
    profile: Profile
    table: Table | None = None

    @property
    def tight(self) -> bool:
        """Whether the most careful settings are meant."""
        return self.profile == "tight"


def _known(call: Call, form: str, start: str = ", ") -> str:
    """Arguments for weights and offset, as `form` says."""
    spelling = call.model.spelling
    given = [("weights", spelling.weights), ("offset", spelling.offset)]
    found = [form.format(role=role, alias=alias) for role, alias in given if alias]
    return start + ", ".join(found) if found else ""


# ---- R


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
    f, known = call.model.spelling.formula, _known(call, "{role} = {alias}")
    reml = "TRUE" if call.method == "REML" else "FALSE"
    if not call.tight:
        return f"fit <- {lmer}({f}, data, REML = {reml}{known})"
    given = _known(call, '{role} = "{alias}"')
    careful = from_r("tidy", "with_columns"), from_r("lme4", "tight_lme4")
    return "\n".join([*careful, f"fit <- tight_lme4({f}, data, {reml}{given}, last = {lmer})"])


def _lme4(call: Call) -> str:
    return _r(call, _lmer(call, "lme4::lmer"), "lme4::fixef(fit)", "vcov(fit)")


def _lmertest(call: Call) -> str:
    numbers = _r(call, _lmer(call, "lmerTest::lmer"), "lme4::fixef(fit)", "vcov(fit)")
    return f"{numbers}\nprint(coef(summary(fit)))  # with Satterthwaite's df"


def _pbkrtest(call: Call) -> str:
    numbers = _r(call, _lmer(call, "lme4::lmer"), "lme4::fixef(fit)", "pbkrtest::vcovAdj(fit)")
    one = "function(one) pbkrtest::Lb_ddf(one, vcov(fit), pbkrtest::vcovAdj(fit))"
    return f'{numbers}\ncat("df (Kenward-Roger)", apply(diag(length(beta)), 1, {one}), "\\n")'


def _glmmtmb(call: Call) -> str:
    f, reml = call.model.spelling.formula, "TRUE" if call.method == "REML" else "FALSE"
    fit = f"fit <- glmmTMB::glmmTMB({f}, data, REML = {reml}{_known(call, '{role} = {alias}')})"
    if call.tight:
        careful = from_r("tidy", "with_columns"), from_r("glmmTMB", "tight_glmmTMB")
        given = _known(call, '{role} = "{alias}"')
        fit = "\n".join([*careful, f"fit <- tight_glmmTMB({f}, data, {reml}{given})"])
    return _r(call, fit, "glmmTMB::fixef(fit)$cond", "vcov(fit)$cond")


def _lm(call: Call) -> str:
    fit = f"fit <- lm({call.model.spelling.fixed}, data{_known(call, '{role} = {alias}')})"
    reml = call.method == "REML"
    ratio = "" if reml else " * df.residual(fit) / nobs(fit)"
    loglik = f"as.numeric(logLik(fit, REML = {'TRUE' if reml else 'FALSE'}))"
    return _r(call, fit, "coef(fit)", f"vcov(fit){ratio}", loglik)


def _nlme(call: Call) -> str:
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
    weights = f"nlme::varFixed(~ 1 / {spelling.weights})" if spelling.weights else ""
    if call.tight:
        made = f"list(fixed = {spelling.fixed}, data = data, random = random)"
        given = f", {weights}" if weights else ""
        lines += [from_r("nlme", "tight_nlme"), f'fit <- tight_nlme({made}, "{call.method}"{given})']
    else:
        given = f", weights = {weights}" if weights else ""
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
    chain = all(nlme.refines(of[b], of[a]) for a, b in pairwise(groups))
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


# ---- Python


def _statsmodels(call: Call) -> str:
    form = statsmodels.form(call.model)
    assert not isinstance(form, str)
    place = [i for i, term in enumerate(call.model.random) if term is form.correlated]
    parts = [i for i, term in enumerate(call.model.random) if term is not form.correlated]
    outer = next((i for i, t in enumerate(call.model.random) if (t.index == form.groups).all()), None)
    lines = ["from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams, VCSpec", ""]
    lines.append(f"groups = {'np.zeros(len(y), dtype=int)' if outer is None else f'g[{outer}]'}")
    if parts:
        lines += [VC.strip(), f"spread = [list(levels_by_group(Z[i], g[i], groups)) for i in {parts}]"]
        lines.append(
            "vc = VCSpec([str(i) for i in range(len(spread))], [[a for a, _ in t] for t in spread],"
            " [[b for _, b in t] for t in spread])"
        )
    re = f", exog_re=Z[{place[0]}]" if place else ""
    lines.append(f"mixed = MixedLM(y, X, groups=groups{re}{', exog_vc=vc' if parts else ''})")
    reml = str(call.method == "REML")
    if call.tight:
        best = re_own_import(inspect.getsource(statsmodels.best))
        lines += ["import math", "Any = object", f"OPTIONS = {dict(statsmodels.OPTIONS)!r}", best]
    lines.append(f"result = best(mixed, {reml})" if call.tight else f"result = mixed.fit(reml={reml})")
    return "\n".join([*lines, "loglik, beta, se = result.llf, result.fe_params, result.bse_fe"])


VC = """
def levels_by_group(Z, g, groups):
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        levels, column = np.unique(g[rows], return_inverse=True)
        matrix = np.zeros((len(rows), len(levels)))
        matrix[np.arange(len(rows)), column] = Z[rows, 0]
        yield [str(level) for level in levels], matrix
"""


def re_own_import(source: str) -> str:
    """Without the line that imports what the script has imported."""
    kept = [line for line in source.splitlines() if not line.strip().startswith("from ")]
    return "\n".join(kept)


def _ols(call: Call) -> str:
    plain = call.model.weights is None
    made = "OLS(y, X)" if plain else "WLS(y, X, weights=w)"
    reml = call.method == "REML"
    return "\n".join(
        [
            "from statsmodels.regression.linear_model import OLS, WLS",
            f"result = {made}.fit()",
            f"scale = {'result.scale' if reml else 'result.ssr / len(y)'}",
            f"loglik = {'np.nan  # statsmodels has one for ML only' if reml else 'result.llf'}",
            "beta, se = result.params, np.sqrt(scale * np.diag(result.normalized_cov_params))",
        ]
    )


def _order(call: Call) -> str:
    assert call.table is not None
    ours = {name: alias for alias, name in call.table.names.items()}
    return repr([ours[name] for name in call.model.names])


def _glmm(call: Call) -> str:
    assert call.table is not None
    known = _known(call, '{role}=data["{alias}"].to_numpy()')
    return "\n".join(
        [
            "import glmm",
            f'result = glmm.fit(data, "{call.table.formula}", reml={call.method == "REML"}{known})',
            f"at = [list(result.names).index(name) for name in {_order(call)}]",
            "loglik, beta, se = result.loglik, result.beta[at], result.se[at]",
        ]
    )


def _mixedlm(call: Call) -> str:
    assert call.table is not None
    known = _known(call, '{role}="{alias}"')
    careful = 'mixedlm.lmerControl(optimizer="COBYQA", ftol=1e-12, xtol=1e-12, maxiter=10_000)'
    control = f", control={careful}" if call.tight else ""
    return "\n".join(
        [
            "import mixedlm",
            f'result = mixedlm.lmer("{call.table.formula}", data, '
            f"REML={call.method == 'REML'}{known}{control})",
            "fixed, error = result.fixef(), np.sqrt(np.diag(result.vcov()))",
            f"at = [list(fixed).index(name) for name in {_order(call)}]",
            "loglik = result.logLik().value",
            "beta, se = np.array(list(fixed.values()))[at], error[at]",
        ]
    )


def _mixedlm_rs(call: Call) -> str:
    options = ", n_starts=5, gtol=1e-10, ftol=1e-15, maxiter=10_000" if call.tight else ""
    return "\n".join(
        [
            "from mixedlm_rs import MixedLM",
            f"result = MixedLM(y, X, g[0], exog_re=Z[0]).fit(reml={call.method == 'REML'}{options})",
            "loglik, beta, se = result.llf, result.fe_params, result.bse_fe",
        ]
    )


def _lme_python(call: Call) -> str:
    assert call.table is not None
    spelling = call.model.spelling
    offset = f" + offset({spelling.offset})" if spelling.offset else ""
    weights = f', data["{spelling.weights}"].tolist()' if spelling.weights else ""
    lmer = "lme_python.lmer_weighted" if weights else "lme_python.lmer"
    given = f'"{call.table.formula}{offset}", data, {call.method == "REML"}{weights}'
    lines = ["import lme_python", f"result = {lmer}({given})"]
    if call.tight:
        control = "lme_python.FitControl(tolerance=1e-10, max_iterations=10_000, start=result.theta)"
        lines.append(f"result = {lmer}({given}, control={control})")
    lines += [
        f"at = [list(result.fixed_names).index(name) for name in {_order(call)}]",
        "loglik = result.log_likelihood",
        "beta, se = np.array(result.coefficients)[at], np.array(result.std_errors)[at]",
    ]
    return "\n".join(lines)


def _kamino(call: Call) -> str:
    known = _known(call, '{role}=data["{alias}"].to_numpy()')
    careful = "kamino.FitControl(absolute_theta_tolerance=1e-12, maximum_evaluations=100_000)"
    control = f", control={careful}" if call.tight else ""
    ours = {name: alias for alias, name in call.model.spelling.fixed_names.items()}
    written = f'"{formula(call.model)}", data, reml={call.method == "REML"}{known}{control}'
    return "\n".join(
        [
            "import kamino",
            f"result = kamino.lmer({written})",
            "parts = [sorted(name.split(':')) for name in result.fixed_names]",
            f"at = [parts.index(sorted(name.split(':'))) for name in {[ours[n] for n in call.model.names]}]",
            "loglik, beta = result.log_likelihood, np.asarray(result.beta)[at]",
            "se = np.sqrt(np.diag(result.beta_covariance))[at]",
        ]
    )


def _interlace(call: Call) -> str:
    spelling, lines = call.model.spelling, ["import interlace"]
    for i, terms in enumerate(blocks(call.model).values()):
        first, *rest = spelling.random[terms[0]][1]
        more = "".join(f' + ":" + data["{f}"].astype(str)' for f in rest)
        lines.append(f'data["g{i}"] = data["{first}"].astype(str){more}')
    known = _known(call, '{role}=data["{alias}"].to_numpy()')
    careful = ', optimizer="bobyqa"' if call.tight else ""
    ours = {name: alias for alias, name in spelling.fixed_names.items()}
    lines += [
        f'result = interlace.fit("{spelling.fixed}", data, method="{call.method}", '
        f"random={random(call.model)}{known}{careful})",
        "def parts(name):",
        '    name = name.strip("()").replace("[T.", "").replace("[", "").replace("]", "")',
        '    return sorted(name.split(":"))',
        "at = [parts(name) for name in result.fe_params.index]",
        f"at = [at.index(parts(name)) for name in {[ours[n] for n in call.model.names]}]",
        "loglik, beta = result.llf, result.fe_params.to_numpy()[at]",
        "se = result.fe_bse.to_numpy()[at]",
    ]
    return "\n".join(lines)


def _gpboost(call: Call) -> str:
    model = call.model
    names = list(dict.fromkeys(term.group for term in model.random))
    first = [next(i for i, t in enumerate(model.random) if t.group == name) for name in names]
    given = [f"group_data=np.column_stack([g[i] for i in {first}])"]
    if slopes := [t for t in components(model) if not intercept(t)]:
        with_intercept = {t.group for t in model.random if intercept(t)}
        at = [next(i for i, t in enumerate(model.random) if t is slope) for slope in slopes]
        given += [
            f"group_rand_coef_data=np.column_stack([Z[i][:, 0] for i in {at}])",
            f"ind_effect_group_rand_coef={[names.index(t.group) + 1 for t in slopes]}",
            f"drop_intercept_group_rand_effect={[name not in with_intercept for name in names]}",
        ]
    given += ["weights=w"] if model.weights is not None else []
    given += ['matrix_inversion_method="cholesky"'] if call.tight else []
    params = ', params={"delta_rel_conv": 1e-12}' if call.tight else ""
    offset = ", offset=offset" if model.offset is not None else ""
    lines = ["import gpboost"]
    lines.append(f'gp = gpboost.GPModel(likelihood="gaussian", {", ".join(given)})')
    lines.append(f"gp.fit(y=y, X={'X' if model.p else None}{params}{offset})")
    lines.append("loglik = -gp.get_current_neg_log_likelihood()")
    if model.p:
        lines.append("beta, se = gp.get_coef(std_err=True, format_pandas=False)")
    else:
        lines.append("beta = se = np.zeros(0)")
    return "\n".join(lines)


Lines = Callable[[Call], str]

CALLS: dict[str, tuple[Lines, tuple[str, ...]]] = {
    "lme4": (_lme4, ("lme4", "Matrix")),
    "lmerTest": (_lmertest, ("lmerTest", "lme4")),
    "pbkrtest": (_pbkrtest, ("pbkrtest", "lme4")),
    "nlme": (_nlme, ("nlme",)),
    "glmmTMB": (_glmmtmb, ("glmmTMB", "TMB")),
    "lm": (_lm, ()),
    "statsmodels": (_statsmodels, ("statsmodels", "numpy", "scipy")),
    "ols": (_ols, ("statsmodels", "numpy")),
    "glmm": (_glmm, ("glmm", "numpy")),
    "mixedlm": (_mixedlm, ("mixedlm", "numpy", "scipy")),
    "mixedlm-rs": (_mixedlm_rs, ("mixedlm-rs", "numpy", "scipy")),
    "lme-python": (_lme_python, ("lme-python", "polars")),
    "kamino-lme": (_kamino, ("kamino-lme", "formulae", "numpy", "scipy")),
    "interlace-lme": (_interlace, ("interlace-lme", "numpy", "scipy")),
    "gpboost": (_gpboost, ("gpboost", "numpy", "scipy")),
}
"""Engine to its lines and the packages whose versions the script prints."""

TABLES = ("glmm", "mixedlm", "lme-python")
"""Engines that are given a `Table`, not the model's own data."""

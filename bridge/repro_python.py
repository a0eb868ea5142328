"""Calls in Python: how a script calls each Python engine, plainly, as `bridge.engines` does.

Each function gives the lines that end with `loglik`, `beta` and `se` in the model's order. The script has
made `data` (the aliased table) and, from its complete rows, `y`, `X`, `Z` and `g` (a random term each).
"""

from __future__ import annotations

import inspect

from bridge.engines import statsmodels as adapter
from bridge.engines.gpboost import components
from bridge.engines.gpboost import intercept as is_intercept
from bridge.engines.interlace import blocks, random
from bridge.engines.kamino import formula
from bridge.repro_call import Call, roles


def statsmodels(call: Call) -> str:
    """MixedLM on the model's own matrices."""
    form = adapter.form(call.model)
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
        best = re_own_import(inspect.getsource(adapter.best))
        lines += ["import math", "Any = object", f"OPTIONS = {dict(adapter.OPTIONS)!r}", best]
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


def ols(call: Call) -> str:
    """Statsmodels' OLS or WLS: no groups."""
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


def glmm(call: Call) -> str:
    """glmm.fit."""
    assert call.table is not None
    known = roles(call, '{role}=data["{alias}"].to_numpy()')
    return "\n".join(
        [
            "import glmm",
            f'result = glmm.fit(data, "{call.table.formula}", reml={call.method == "REML"}{known})',
            f"at = [list(result.names).index(name) for name in {_order(call)}]",
            "loglik, beta, se = result.loglik, result.beta[at], result.se[at]",
        ]
    )


def mixedlm(call: Call) -> str:
    """mixedlm.lmer."""
    assert call.table is not None
    known = roles(call, '{role}="{alias}"')
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


def mixedlm_rs(call: Call) -> str:
    """mixedlm_rs.MixedLM."""
    options = ", n_starts=5, gtol=1e-10, ftol=1e-15, maxiter=10_000" if call.tight else ""
    return "\n".join(
        [
            "from mixedlm_rs import MixedLM",
            f"result = MixedLM(y, X, g[0], exog_re=Z[0]).fit(reml={call.method == 'REML'}{options})",
            "loglik, beta, se = result.llf, result.fe_params, result.bse_fe",
        ]
    )


def lme_python(call: Call) -> str:
    """lme_python.lmer, tight from its own first answer."""
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


def kamino(call: Call) -> str:
    """kamino.lmer."""
    known = roles(call, '{role}=data["{alias}"].to_numpy()')
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


def interlace(call: Call) -> str:
    """interlace.fit."""
    spelling, lines = call.model.spelling, ["import interlace"]
    for i, terms in enumerate(blocks(call.model).values()):
        first, *rest = spelling.random[terms[0]][1]
        more = "".join(f' + ":" + data["{f}"].astype(str)' for f in rest)
        lines.append(f'data["g{i}"] = data["{first}"].astype(str){more}')
    known = roles(call, '{role}=data["{alias}"].to_numpy()')
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


def gpboost(call: Call) -> str:
    """gpboost.GPModel."""
    model = call.model
    names = list(dict.fromkeys(term.group for term in model.random))
    first = [next(i for i, t in enumerate(model.random) if t.group == name) for name in names]
    given = [f"group_data=np.column_stack([g[i] for i in {first}])"]
    if slopes := [t for t in components(model) if not is_intercept(t)]:
        with_intercept = {t.group for t in model.random if is_intercept(t)}
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

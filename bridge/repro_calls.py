"""Calls: which function says how a script calls an engine."""

from __future__ import annotations

from collections.abc import Callable

from bridge import repro_python, repro_r
from bridge.repro_call import Call

Lines = Callable[[Call], str]

CALLS: dict[str, tuple[Lines, tuple[str, ...]]] = {
    "lme4": (repro_r.lme4, ("lme4", "Matrix")),
    "lmerTest": (repro_r.lmertest, ("lmerTest", "lme4")),
    "pbkrtest": (repro_r.pbkrtest, ("pbkrtest", "lme4")),
    "nlme": (repro_r.nlme, ("nlme",)),
    "glmmTMB": (repro_r.glmmtmb, ("glmmTMB", "TMB")),
    "lm": (repro_r.lm, ()),
    "statsmodels": (repro_python.statsmodels, ("statsmodels", "numpy", "scipy")),
    "ols": (repro_python.ols, ("statsmodels", "numpy")),
    "glmm": (repro_python.glmm, ("glmm", "numpy")),
    "mixedlm": (repro_python.mixedlm, ("mixedlm", "numpy", "scipy")),
    "mixedlm-rs": (repro_python.mixedlm_rs, ("mixedlm-rs", "numpy", "scipy")),
    "lme-python": (repro_python.lme_python, ("lme-python", "polars")),
    "kamino-lme": (repro_python.kamino, ("kamino-lme", "formulae", "numpy", "scipy")),
    "interlace-lme": (repro_python.interlace, ("interlace-lme", "numpy", "scipy")),
    "gpboost": (repro_python.gpboost, ("gpboost", "numpy", "scipy")),
}
"""Engine to its lines and the packages whose versions the script prints."""

TABLES = ("glmm", "mixedlm", "lme-python")
"""Engines that are given a `Table`, not the model's own data."""

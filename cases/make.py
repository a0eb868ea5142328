"""Remake the data of the cases that no [generate] table can draw: one function a case, named like it.

`python cases/make.py NAME...` (all, if none is named) makes each table again and says whether its content
hash is the one in case.toml; with ``--write`` it stores data.parquet anew first. Tables "from R" need
Rscript and the package named; the others need numpy and pandas alone.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

Maker = Callable[[], pd.DataFrame]
MAKERS: dict[str, Maker] = {}
FROM_R: set[str] = set()


def made(maker: Maker) -> Maker:
    """Register a function under its case's name; its numbers get 12 significant digits.

    Sums and products of floats may differ in the last bit from machine to machine; what is stored may not.
    """

    def rounded() -> pd.DataFrame:
        frame = maker()
        for column in frame.select_dtypes("float"):
            frame[column] = [float(f"{v:.12g}") for v in frame[column]]
        return frame

    MAKERS[maker.__name__.replace("_", "-")] = rounded
    return rounded


def from_r(name: str, code: str) -> None:
    """Register a case whose table is the value of R code."""

    def maker() -> pd.DataFrame:
        return r(code)

    MAKERS[name] = maker
    FROM_R.add(name)


EXPORT = """
frame <- as.data.frame(local({ %s }))
class(frame) <- "data.frame"
number <- vapply(frame, is.numeric, NA)
text <- frame
text[number] <- lapply(frame[number], sprintf, fmt = "%%.17g")
text[!number] <- lapply(frame[!number], as.character)
write.csv(text, row.names = FALSE)
cat("--levels--\\n")
kind <- function(x) if (is.ordered(x)) "ordered" else if (is.factor(x)) "factor" else class(x)[1]
for (column in names(frame)) {
  cat(column, kind(frame[[column]]), levels(frame[[column]]), sep = "\\t")
  cat("\\n")
}
"""


def r(code: str) -> pd.DataFrame:
    """The data frame that R code evaluates to, exact (17 digits), with its types and levels."""
    run = subprocess.run(
        ["Rscript", "--vanilla", "-e", EXPORT % code], capture_output=True, text=True, check=True
    )
    table, kinds = run.stdout.split("--levels--\n")
    frame = pd.read_csv(io.StringIO(table), dtype=str, keep_default_na=False)
    for line in kinds.splitlines():
        column, kind, *levels = line.split("\t")
        if kind in ("factor", "ordered"):
            frame[column] = pd.Categorical(frame[column], levels, ordered=kind == "ordered")
        elif kind in ("integer", "numeric"):
            frame[column] = frame[column].astype(int if kind == "integer" else float)
    return frame


def grouped(
    rng: Generator, sizes: Sequence[int], slope: float, tau: float, sigma: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Group, x, and y = 1 + slope x + random intercept + residual, drawn in the order of x, u, e."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=len(group))
    u = rng.normal(0, tau, len(sizes))
    return group, x, 1 + slope * x + u[group] + rng.normal(0, sigma, len(group))


def named(letter: str, index: NDArray[np.intp]) -> list[str]:
    """Labels of one width: g01, g02, ..."""
    width = len(str(int(index.max()) + 1))
    return [f"{letter}{i + 1:0{width}d}" for i in index]


SLEEPSTUDY = "library(lme4); d <- sleepstudy; {}; d"
for _name, _change in {
    "sleepstudy-reaction-times-1e6": "d$Reaction <- d$Reaction * 1e6",
    "sleepstudy-reaction-times-1e-6": "d$Reaction <- d$Reaction * 1e-6",
    "sleepstudy-reaction-plus-1e9": "d$Reaction <- d$Reaction + 1e9",
    "sleepstudy-days-times-1e6": "d$Days <- d$Days * 1e6",
    "sleepstudy-days-times-1e-6": "d$Days <- d$Days * 1e-6",
}.items():
    from_r(_name, SLEEPSTUDY.format(_change))

# Real data
from_r("cake", "lme4::cake")
from_r("oxboys", "nlme::Oxboys[c('Subject', 'age', 'height')]")
from_r("pixel", "nlme::Pixel")
from_r("oats", "nlme::Oats")
from_r("assay", "nlme::Assay")
from_r("wafer", "nlme::Wafer")
from_r(
    "ovary",
    "d <- nlme::Ovary; d$sine <- sin(2 * pi * d$Time); d$cosine <- cos(2 * pi * d$Time);"
    "d[c('Mare', 'sine', 'cosine', 'follicles')]",
)
from_r("ergostool", "nlme::ergoStool")
from_r(
    "ovary-ar1",
    "d <- nlme::Ovary; d$sine <- sin(2 * pi * d$Time); d$cosine <- cos(2 * pi * d$Time);"
    "d$day <- ave(d$Time, d$Mare, FUN = seq_along); d[c('Mare', 'day', 'sine', 'cosine', 'follicles')]",
)
from_r("orthodont-varident", "nlme::Orthodont")

# Rebuilt from reports, with the reporter's own data or seed
from_r(
    "lme4-17-false-zero",
    "set.seed(1); g <- gl(10, 5); theta <- rnorm(10, 0, 2 * .75);"
    "data.frame(g = g, y = rnorm(50, 2 + theta[g], 2))",
)
from_r(
    "lme4-75-five-groups",
    "set.seed(80813); N <- 5; n <- 6;"
    "within(data.frame(grp = gl(N, n), x1 = rnorm(N * n), x2 = runif(N)[rep(1:N, each = n)]),"
    "y <- 1 + x1 + x2 + rnorm(N)[grp] + rnorm(N * n))",
)
from_r(
    "lme4-584-two-clusters",
    "set.seed(3941); u <- rep(rnorm(2), each = 100);data.frame(group = gl(2, 100), outcome = rnorm(200) + u)",
)
from_r(
    "lme4-173-hertz",
    "d <- read.csv(system.file('testdata/hotpower.csv', package = 'lme4'));"
    "d <- d[!grepl('cpuload', d$benchmark), c('processor', 'benchmark', 'frequency', 'meanpower')];"
    "d$frequency <- as.numeric(d$frequency);"
    "aggregate(meanpower ~ frequency + processor + benchmark, d, function(x) x[1])",
)
from_r(
    "lme4-241-koller",
    "source(system.file('testdata/koller-data.R', package = 'lme4')); getData(13)[c('Var2', 'y')]",
)
from_r(
    "lme4-559-overlapping-terms",
    "d <- nlme::Orthodont; d$nsex <- as.numeric(d$Sex == 'Male'); d$nsexage <- d$nsex * d$age; d",
)
from_r(
    "lme4-731-unscaled-covariates",
    "library(lme4); set.seed(1); d <- sleepstudy; d$var1 <- runif(180, 1e6, 1e7);"
    "d$var2 <- runif(180, 1e-7, 1e-6); d",
)
from_r("lme4-172-cask-by-batch", "lme4::Pastes[c('strength', 'batch', 'cask')]")
from_r("lme4-175-ergostool", "nlme::ergoStool")
from_r(
    "glmmtmb-880-months",
    "set.seed(123); d <- lme4::sleepstudy; d$Months <- sample(1:4, 180, TRUE); d",
)
from_r("mixedmodels-349-orange", "Orange")
from_r("statsmodels-3604-sitka", "MASS::Sitka")
from_r("jasp-1093-ratpup", "nlme::RatPupWeight")


@made
def lme4_70_dilution() -> pd.DataFrame:
    """Lme4 issue 70, as posted: two operators, six samples from 60 to 40,000."""
    y = """64.38 56.61 128.93 130.57 542.22 525.62 2410.67 2533.87 7072.26 6579.28 36329.58 33516.53
    66.86 68.98 157.16 137.5 721.94 542.52 3212.45 2823.3 10150.13 10255.36 46566.14 36537.14"""
    return pd.DataFrame(
        {
            "operator": np.repeat(["1", "2"], 12),
            "sample": np.tile(np.repeat(list("123456"), 2), 2),
            "y": [float(v) for v in y.split()],
        }
    )


@made
def lme4_501_triglyceride() -> pd.DataFrame:
    """Kuehl (2000), example 7.1, as posted in lme4 issue 501."""
    y = """142.3 144.0 148.6 146.9 142.9 147.4 133.8 133.2 134.9 146.3 145.2 146.3 125.9 127.6 108.9 107.5
    148.6 156.5 148.6 153.1 135.5 138.9 132.1 149.7 152.0 151.4 149.7 152.0 142.9 142.3 141.7 141.2"""
    return pd.DataFrame(
        {
            "day": np.repeat(list("1234"), 8),
            "machine": np.tile(np.repeat(list("1234"), 2), 4),
            "y": [float(v) for v in y.split()],
        }
    )


@made
def mixedmodels_105_nine_rows() -> pd.DataFrame:
    """MixedModels.jl issue 105, as posted."""
    return pd.DataFrame(
        {
            "ids": list("xxxyyyzzz"),
            "score": [100.0, 50, 70, 40, 50, 60, 70, 60, 30],
            "proj": list("aaaaaabbb"),
            "days": [1, 2, 3] * 3,
        }
    )


@made
def statsmodels_4152_toy() -> pd.DataFrame:
    """Statsmodels issue 4152, as posted, with 0 and 1 for False and True."""
    return pd.DataFrame({"group": list("aaabbb"), "x": [1, 2, 3, 4, 5, 6], "y": [0.0, 1, 1, 0, 1, 1]})


@made
def statsmodels_7051_meaningless_groups() -> pd.DataFrame:
    """Statsmodels issue 7051: Y and X standard normal, three groups dealt in turn."""
    Y, X = default_rng(7051).normal(size=(2, 100))
    return pd.DataFrame({"Y": Y, "X": X, "class": [f"c{i % 3}" for i in range(100)]})


@made
def statsmodels_3654_groups_along_x() -> pd.DataFrame:
    """Statsmodels issue 3654: x from 50 to 99.5, three groups cut from it at 67 and 86, a slope in each."""
    rng = default_rng(3654)
    x = np.arange(50, 100, 0.5)
    group = np.where(x < 67, 0, np.where(x < 86, 1, 2))
    y = 3 + 2 * x + np.array([0.3, -0.2, 0.1])[group] * x + rng.normal(0, 4, len(x))
    return pd.DataFrame({"x": x, "group": [f"group{g + 1}" for g in group], "y": y})


@made
def statsmodels_9279_crossed() -> pd.DataFrame:
    """Statsmodels issue 9279: 30 subjects by 20 items, both with an intercept, slope 3."""
    rng = default_rng(9279)
    subject, item = np.divmod(np.arange(600), 20)
    x = rng.normal(size=600)
    u, v = rng.normal(0, 2, 30), rng.normal(0, 1, 20)
    y = 5 + 3 * x + u[subject] + v[item] + rng.normal(size=600)
    return pd.DataFrame({"subject": named("s", subject), "item": named("i", item), "x": x, "y": y})


@made
def statsmodels_10239_zero_variance() -> pd.DataFrame:
    """Statsmodels issue 10239: two arms between groups, a condition within, groups that do not differ."""
    rng = default_rng(10239)
    unit = np.repeat(np.arange(40), 8)
    arm, condition = unit % 2, np.tile([0, 1], 160)
    e = rng.normal(size=320)
    e -= 0.9 * np.bincount(unit, e)[unit] / 8  # less between the groups than residuals alone would give
    y = 10 + 1.5 * arm + 0.5 * condition + 0.8 * arm * condition + e
    return pd.DataFrame({"unit": named("u", unit), "arm": arm, "condition": condition, "y": y})


@made
def lme4_251_constant_column() -> pd.DataFrame:
    """Lme4 issue 251: a covariate that is 1 in every row."""
    rng = default_rng(251)
    group, x, y = grouped(rng, [10] * 10, 0.4, 0.5, 1)
    return pd.DataFrame({"id": named("g", group), "x1": 1.0, "x2": x, "y": y})


@made
def lme4_376_concentration() -> pd.DataFrame:
    """Lme4 issue 376: change of QTc against a drug's concentration, treatment and time; no true slope."""
    rng = default_rng(376)
    subject, row = np.divmod(np.arange(12 * 10), 10)
    time, dose = row % 5, np.where(row < 5, 0, 1 + subject % 3)
    shape = np.array([0.0, 1.0, 0.8, 0.4, 0.1])
    peak = 250 * dose * np.exp(rng.normal(0, 0.6, 12))[subject]
    concentration = np.round(peak * shape[time] * np.exp(rng.normal(0, 0.1, 120)), 1)
    u = rng.normal(0, 5, 12)
    effect = -4 + np.array([0.0, 1, 2, 1, 0])[time] + u[subject] + rng.normal(0, 5, 120)
    return pd.DataFrame(
        {
            "id": named("s", subject),
            "trt": np.where(dose == 0, "placebo", np.array(["none", "low", "mid", "high"])[dose]),
            "TP": [f"t{t}" for t in time],
            "C": concentration,
            "dQTcF": np.round(effect, 2),
        }
    )


@made
def mixedmodels_705_bioequivalence() -> pd.DataFrame:
    """MixedModels.jl issue 705: replicate crossover with missing periods; two formulations by subject."""
    rng = default_rng(7061)
    rows = []
    for s in range(24):
        sequence = ("TRTR", "RTRT")[s % 2]
        u = rng.normal(0, 0.5)
        d = 0.15 * rng.normal()
        for period, formulation in enumerate(sequence):
            e = rng.normal(0, 0.25 if formulation == "R" else 0.2)
            if rng.random() < 0.25 and period > 0:
                continue
            y = 7 + 0.05 * (formulation == "T") + u + d * (formulation == "T") + e
            rows.append((f"s{s + 1:02d}", sequence, f"p{period + 1}", formulation, round(y, 4)))
    return pd.DataFrame(rows, columns=["id", "sequence", "period", "formulation", "logauc"])


@made
def mixedmodels_313_millions() -> pd.DataFrame:
    """MixedModels.jl issue 313: covariates from minus to plus millions, with random slopes."""
    rng = default_rng(313)
    group = np.repeat(np.arange(20), 15)
    a, b = np.round(rng.normal(0, 3e6, (2, 300)))
    s = rng.normal(0, 2e-7, 20)
    y = 4 + 1e-7 * a - 3e-7 * b + rng.normal(0, 0.5, 20)[group] + s[group] * a + rng.normal(0, 1, 300)
    return pd.DataFrame({"market": named("m", group), "spend": a, "visits": b, "volume": np.round(y, 4)})


@made
def mixedmodels_74_centres() -> pd.DataFrame:
    """MixedModels.jl issue 74: participants within centres, an uncorrelated slope by centre."""
    rng = default_rng(74)
    pid = np.repeat(np.arange(48), 4)
    centre = pid // 6
    x = rng.normal(size=192)
    y = 2 + x + rng.normal(0, 1, 8)[centre] + rng.normal(0, 0.4, 8)[centre] * x
    y += rng.normal(0, 0.7, 48)[pid] + rng.normal(size=192)
    return pd.DataFrame({"center": named("c", centre), "pid": named("p", pid), "x": x, "y": y})


@made
def lme4_449_faithful_slopes() -> pd.DataFrame:
    """Lme4 issue 449: a slope that hardly varies, of a covariate far from its origin; eight subjects."""
    rng = default_rng(449)
    subject = np.arange(272) % 8
    waiting = np.round(rng.normal(71, 13.5, 272))
    y = -1.87 + 0.0756 * waiting + rng.normal(0, 0.04, 8)[subject] + rng.normal(0, 0.49, 272)
    return pd.DataFrame({"subject": named("s", subject), "waiting": waiting, "eruptions": np.round(y, 3)})


# Sizes of groups
@made
def singletons() -> pd.DataFrame:
    """20 groups of one row and 10 of 2 to 6."""
    group, x, y = grouped(default_rng(1), [1] * 20 + [2, 3, 4, 5, 6] * 2, 0.5, 0.8, 1)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


@made
def all_singletons() -> pd.DataFrame:
    """40 groups of one row."""
    group, x, y = grouped(default_rng(2), [1] * 40, 0.5, 0.8, 1)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


@made
def one_huge_cluster() -> pd.DataFrame:
    """Nine groups of three and one of 3000."""
    group, x, y = grouped(default_rng(3), [3] * 9 + [3000], 0.5, 0.7, 1)
    return pd.DataFrame({"g": named("g", group), "x": np.round(x, 2), "y": np.round(y, 2)})


@made
def two_clusters() -> pd.DataFrame:
    """Two groups, of 10 and 30."""
    group, x, y = grouped(default_rng(401), [10, 30], 0.5, 1, 1)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


# Variance ratios
def ratio(seed: int, tau: float) -> pd.DataFrame:
    """15 groups of 8 whose REML estimates are tau and 1: group means and residuals rescaled."""
    rng = default_rng(seed)
    J, n = 15, 8
    e = rng.normal(size=(J, n))
    e -= e.mean(axis=1, keepdims=True)
    e *= np.sqrt(J * (n - 1) / np.sum(e**2))
    m = rng.normal(size=J)
    m -= m.mean()
    m *= np.sqrt((J - 1) * (tau**2 + 1 / n) / np.sum(m**2))
    group = np.repeat(np.arange(J), n)
    y = [float(f"{v:.12g}") for v in (10 + m[:, None] + e).ravel()]
    return pd.DataFrame({"g": named("g", group), "y": y})


for _name, _seed, _tau in [
    ("ratio-0.1", 11, 0.1),
    ("ratio-0.01", 12, 0.01),
    ("ratio-0.001", 13, 0.001),
    ("ratio-1e4", 146, 1e4),
]:
    MAKERS[_name] = partial(ratio, _seed, _tau)


@made
def equal_means() -> pd.DataFrame:
    """Six groups of five whose means are all 3: no variance between them at all."""
    y = [
        [1, 2, 3, 4, 5],
        [3, 3, 3, 3, 3],
        [2, 4, 3, 1, 5],
        [0, 6, 3, 2, 4],
        [3, 2, 4, 3, 3],
        [7, -1, 3, 3, 3],
    ]
    return pd.DataFrame({"g": np.repeat(list("abcdef"), 5), "y": np.ravel(y).astype(float)})


@made
def whole_numbers() -> pd.DataFrame:
    """Four groups of two, whole numbers: MSB = 40/3, MSW = 2; sigma2 = 2, tau2 = 17/3 (REML)."""
    return pd.DataFrame({"g": np.repeat(list("abcd"), 2), "y": [1.0, 3, 3, 5, 5, 7, 7, 9]})


# Two optima
def shifted_bimodal(k: float) -> pd.DataFrame:
    """The data of the case bimodal, with k (1, -1, .5, -1, .5) added to the five groups."""
    frame = pd.read_parquet(Path(__file__).parent / "bimodal" / "data.parquet")
    shift = k * np.array([1, -1, 0.5, -1, 0.5])[frame["group"].cat.codes]
    return frame.assign(y=np.round(frame["y"] + shift, 6))


MAKERS["bimodal-tie"] = partial(shifted_bimodal, 0.021)
MAKERS["bimodal-upper"] = partial(shifted_bimodal, 0.06)


# Correlations
@made
def correlation_one() -> pd.DataFrame:
    """Slope = .7 times the intercept, 15 groups of 8."""
    rng = default_rng(210)
    group = np.repeat(np.arange(15), 8)
    x = rng.normal(size=120)
    u = rng.normal(size=15)
    y = 1 + 0.5 * x + u[group] * (1 + 0.7 * x) + rng.normal(size=120)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


@made
def correlation_minus_one() -> pd.DataFrame:
    """Lines that all meet in one point: intercept + 5 slope is the same in every group."""
    rng = default_rng(221)
    group = np.repeat(np.arange(12), 6)
    x = np.tile(np.arange(6.0), 12)
    y = 10 + 2 * x + rng.normal(0, 0.8, 12)[group] * (x - 5) + rng.normal(0, 1, 72)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


@made
def rank_one_slopes() -> pd.DataFrame:
    """Intercept and two slopes, all multiples of one draw: a 3 x 3 covariance matrix of rank one."""
    rng = default_rng(23)
    group = np.repeat(np.arange(20), 9)
    X = rng.normal(size=(180, 2))
    u = rng.normal(size=20)
    y = 1 + X @ [0.5, -0.5] + u[group] * (1 + X @ [0.8, -0.6]) + rng.normal(size=180)
    return pd.DataFrame({"g": named("g", group), "a": X[:, 0], "b": X[:, 1], "y": y})


# Design matrices
@made
def rank_deficient() -> pd.DataFrame:
    """x3 = x1 + x2."""
    rng = default_rng(31)
    group, x1, y = grouped(rng, [8] * 10, 0.5, 0.7, 1)
    x1 = np.round(x1 * 64) / 64
    x2 = np.round(rng.normal(size=80) * 64) / 64
    return pd.DataFrame({"g": named("g", group), "x1": x1, "x2": x2, "x3": x1 + x2, "y": y})


@made
def near_collinear() -> pd.DataFrame:
    """x3 = x1 + 4e-7 z."""
    rng = default_rng(32)
    group, x1, y = grouped(rng, [8] * 10, 0.5, 0.7, 1)
    return pd.DataFrame({"g": named("g", group), "x1": x1, "x3": x1 + 4e-7 * rng.normal(size=80), "y": y})


@made
def polynomial() -> pd.DataFrame:
    """A quartic in x from 0 to 20, as raw powers."""
    rng = default_rng(33)
    group = np.repeat(np.arange(8), 21)
    x = np.tile(np.arange(21.0), 8)
    t = x / 20
    y = 5 + 8 * t - 20 * t**2 + 14 * t**4 + rng.normal(0, 1, 8)[group] + rng.normal(0, 0.5, 168)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


# Crossed and nested
@made
def partially_crossed() -> pd.DataFrame:
    """160 rows of 20 subjects by 12 items, each pair at most once."""
    rng = default_rng(41)
    subject, item = np.divmod(rng.permutation(240)[:160], 12)
    x = rng.normal(size=160)
    y = 2 + 0.5 * x + rng.normal(0, 1, 20)[subject] + rng.normal(0, 0.6, 12)[item] + rng.normal(size=160)
    return pd.DataFrame({"subject": named("s", subject), "item": named("i", item), "x": x, "y": y})


@made
def crossed_slopes() -> pd.DataFrame:
    """Crossed subjects and items, a slope by subject, an intercept by item."""
    rng = default_rng(420)
    subject, item = np.divmod(np.arange(240), 10)
    x = np.tile([-0.5, 0.5], 120)
    b = rng.normal(size=(24, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
    y = 3 + x + b[subject, 0] + b[subject, 1] * x + rng.normal(0, 0.7, 10)[item] + rng.normal(size=240)
    return pd.DataFrame({"subject": named("s", subject), "item": named("i", item), "x": x, "y": y})


def wards() -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Hospital, ward within hospital, y: 10 hospitals, 2 to 4 wards, 3 to 6 rows."""
    rng = default_rng(43)
    rows = []
    for h in range(10):
        u = rng.normal(0, 1)
        for w in range(rng.integers(2, 5)):
            v = rng.normal(0, 0.7)
            rows += [(h, w, 20 + u + v + e) for e in rng.normal(size=rng.integers(3, 7))]
    table = np.array(rows)
    return table[:, 0].astype(np.intp), table[:, 1].astype(np.intp), table[:, 2]


@made
def nested_implicit() -> pd.DataFrame:
    """Wards 1, 2, 3 in every hospital: the same labels mean other wards."""
    hospital, ward, y = wards()
    return pd.DataFrame({"hospital": named("h", hospital), "ward": [str(w + 1) for w in ward], "y": y})


@made
def nested_explicit() -> pd.DataFrame:
    """The same rows with a label of its own for every ward."""
    hospital, ward, y = wards()
    h = named("h", hospital)
    labels = [f"{a}.{w + 1}" for a, w in zip(h, ward, strict=True)]
    return pd.DataFrame({"hospital": h, "ward": labels, "y": y})


@made
def three_levels() -> pd.DataFrame:
    """Pupils in classes in schools in districts: 6 x 3 x 3 x 4."""
    rng = default_rng(44)
    i = np.arange(6 * 3 * 3 * 4)
    d, s, c = i // 36, i // 12, i // 4
    x = rng.normal(size=len(i))
    y = 50 + 2 * x + rng.normal(0, 2, 6)[d] + rng.normal(0, 1.5, 18)[s] + rng.normal(0, 1, 54)[c]
    y += rng.normal(0, 2, len(i))
    labels = {"district": [str(v + 1) for v in d], "school": [str(v % 3 + 1) for v in s]}
    return pd.DataFrame({**labels, "class": [str(v % 3 + 1) for v in c], "x": x, "y": y})


# Formulas
@made
def factor_slopes() -> pd.DataFrame:
    """Three conditions, each with its own variance between 18 subjects."""
    rng = default_rng(510)
    subject, row = np.divmod(np.arange(18 * 9), 9)
    condition = row % 3
    b = rng.normal(size=(18, 3)) * [1, 1.5, 0.5] + rng.normal(size=(18, 1))
    y = np.array([10.0, 12, 11])[condition] + b[subject, condition] + rng.normal(size=162)
    return pd.DataFrame(
        {"subject": named("s", subject), "condition": np.array(list("abc"))[condition], "y": y}
    )


@made
def interaction_slopes() -> pd.DataFrame:
    """Time by arm, a slope of time by patient."""
    rng = default_rng(52)
    patient, time = np.divmod(np.arange(30 * 5), 5)
    arm = patient % 3
    b = rng.normal(size=(30, 2)) @ np.array([[2.0, 0.4], [0.0, 0.6]])
    y = 20 + (1 + 0.5 * arm) * time + b[patient, 0] + b[patient, 1] * time + rng.normal(0, 1, 150)
    arms = np.array(["control", "dose1", "dose2"])[arm]
    return pd.DataFrame({"patient": named("p", patient), "time": time, "arm": arms, "y": y})


MAKERS["no-intercept"] = interaction_slopes


# Missing values and labels
def missing_values() -> pd.DataFrame:
    """Holes in y, x and the grouping factor."""
    rng = default_rng(61)
    group, x, y = grouped(rng, [8] * 12, 0.5, 0.8, 1)
    frame = pd.DataFrame({"g": named("g", group), "x": x.round(9), "y": y.round(9)})
    frame.loc[[3, 20, 50], "y"] = np.nan
    frame.loc[[7, 20, 81], "x"] = np.nan
    frame.loc[[12, 60], "g"] = None
    return frame


for _name in ("missing-passed", "missing-omitted"):
    MAKERS[_name] = missing_values


@made
def unused_levels() -> pd.DataFrame:
    """Levels without rows in the grouping factor and in the predictor, first, between and last."""
    rng = default_rng(62)
    group, _, y = grouped(rng, [6] * 8, 0, 0.8, 1)
    f = np.tile(["low", "high"], 24)
    levels = ["z0", *sorted(set(named("g", group)))[:4], "none", *sorted(set(named("g", group)))[4:], "zz"]
    return pd.DataFrame(
        {
            "g": pd.Categorical(named("g", group), levels),
            "f": pd.Categorical(f, ["absent", "low", "medium", "high"]),
            "y": y,
        }
    )


def labelled(names: Sequence[object]) -> pd.DataFrame:
    """Groups of 4, 5, 6, ... rows under these names, with unmistakable intercepts."""
    rng = default_rng(63)
    group = np.repeat(np.arange(len(names)), np.arange(4, 4 + len(names)))
    x = rng.normal(size=len(group))
    u = np.linspace(-2, 2, len(names))[rng.permutation(len(names))]
    y = 1 + 0.5 * x + u[group] + rng.normal(0, 0.7, len(group))
    return pd.DataFrame({"g": [names[i] for i in group], "x": x, "y": y})


@made
def labels_unicode() -> pd.DataFrame:
    """Accents, Greek, Chinese, an emoji, a quote, a blank, a colon, a slash."""
    return labelled(
        ["Ångström", "zebra", "Zebra", "éclair", "β-block", "東京", "🐟", "it's", "two words", "a:b", "c/d"]
    )


@made
def labels_numeric() -> pd.DataFrame:
    """Text that looks like numbers: sorted as text 1, 10, 2, 9."""
    return labelled([f"{i}" for i in (10, 9, 1, 2, 20, 3, 11, 30, 100)])


@made
def labels_integer() -> pd.DataFrame:
    """Whole numbers as groups, negative and large, not in order."""
    return labelled([7, -3, 1000000, 12, 0, 101, 99, 5, 8])


@made
def labels_columns() -> pd.DataFrame:
    """Columns named like functions, with blanks, in another script; a boolean and an ordered predictor."""
    rng = default_rng(64)
    group, x, y = grouped(rng, [10] * 9, 0.5, 0.8, 1)
    dose = np.array(["low", "middle", "high"])[rng.integers(0, 3, 90)]
    return pd.DataFrame(
        {
            "C": named("g", group),
            "log": x,
            "größe in m": rng.normal(size=90),
            "treated": rng.random(90) < 0.5,
            "dose": pd.Categorical(dose, ["low", "middle", "high"], ordered=True),
            "I": y,
        }
    )


# Errors that are not independent with one variance
@made
def ar1_gaps() -> pd.DataFrame:
    """Series of 20 steps, a third of them left out, in no order: errors .6 alike from step to step, sd 1."""
    rng = default_rng(116)
    subject, visit = np.repeat(np.arange(12), 20), np.tile(np.arange(1, 21), 12)
    e = rng.normal(size=(12, 20))
    for t in range(1, 20):
        e[:, t] = 0.6 * e[:, t - 1] + 0.8 * e[:, t]
    x = rng.normal(size=240)
    y = 2 + 0.5 * x + rng.normal(0, 0.7, 12)[subject] + e.ravel()
    kept = rng.permutation(240)[:160]
    frame = pd.DataFrame({"subject": named("s", subject), "visit": visit, "x": x, "y": y})
    return frame.iloc[kept].reset_index(drop=True)


# Outliers
@made
def outlier() -> pd.DataFrame:
    """One y of 10,000 among values near 1."""
    group, x, y = grouped(default_rng(712), [6] * 12, 0.5, 0.8, 1)
    y[30] = 1e4
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


@made
def heavy_tails() -> pd.DataFrame:
    """Residuals from Student's t with 1.5 degrees of freedom."""
    rng = default_rng(72)
    group = np.repeat(np.arange(15), 8)
    x = rng.normal(size=120)
    y = 1 + 0.5 * x + rng.normal(0, 1, 15)[group] + rng.standard_t(1.5, 120)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


# Ill-posed
@made
def perfect_fit() -> pd.DataFrame:
    """The response is exactly 2 + 3 x + its group's intercept."""
    group = np.repeat(np.arange(6), 5)
    x = np.tile(np.arange(5.0), 6)
    u = np.array([0.5, -1, 2, 0, -0.5, 1])
    return pd.DataFrame({"g": named("g", group), "x": x, "y": 2 + 3 * x + u[group]})


@made
def fewer_rows_than_effects() -> pd.DataFrame:
    """Six rows, seven fixed effects."""
    rng = default_rng(82)
    frame = pd.DataFrame(rng.normal(size=(6, 6)), columns=[f"x{i}" for i in range(1, 7)])
    return frame.assign(g=list("aabbcc"), y=rng.normal(size=6))


@made
def one_group() -> pd.DataFrame:
    """A single group of 20."""
    group, x, y = grouped(default_rng(83), [20], 0.5, 1, 1)
    return pd.DataFrame({"g": named("g", group), "x": x, "y": y})


def main(arguments: Sequence[str]) -> int:
    """Remake tables and compare their content hash with case.toml's; 1 if one differs."""
    from bridge import data
    from bridge.case import Case

    root = Path(__file__).parent
    differing = 0
    for name in [a for a in arguments if a != "--write"] or list(MAKERS):
        frame = data.normalise(MAKERS[name](), name)
        if "--write" in arguments:
            data.write(frame, root / name / "data.parquet")
        same = data.content_hash(frame) == Case.load(root / name).data_hash
        differing += not same
        print(f"{name}: {'as stored' if same else 'DIFFERS from case.toml'}")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

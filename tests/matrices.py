"""Formulas, data frames, and what R's model.matrix and lme4's lFormula make of them: one Rscript for all."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from bridge.model import Model, build


def plain() -> pd.DataFrame:
    """Each kind of column: numeric, integer, logical, text, categorical, ordered, unused levels."""
    rng = np.random.default_rng(11)
    n = 48
    a = pd.Categorical.from_codes(rng.permutation(np.arange(n) % 3), ["lo", "mid", "hi"])
    o = pd.Categorical.from_codes(rng.permutation(np.arange(n) % 4), ["1", "2", "3", "4"], ordered=True)
    unused = pd.Categorical.from_codes(rng.permutation(np.arange(n) % 3) * 2, list("zyxwv"))
    return pd.DataFrame(
        {
            "y": rng.normal(3, 1, n),
            "x": rng.normal(size=n),
            "z": rng.uniform(0.5, 4, n),
            "k": rng.permutation(np.arange(n) % 5 + 1),
            "B": rng.permutation(np.arange(n) % 2 == 1),
            "C": rng.permutation(np.array(["b", "B", "a_"] * (n // 3))),
            "F": a,
            "O": o,
            "U": unused,
            "g": np.repeat(np.array([10, 9, 100, 1, 2, 33]), n // 6),
            "h": np.tile(["p", "q", "r", "s"], n // 4),
            "i": np.tile(np.repeat(["u", "v"], n // 12), 6),
        }
    )


def awkward() -> pd.DataFrame:
    """Names that R must be given in backticks, or that look like code."""
    frame = plain()[["y", "x", "F", "B", "g", "h"]]
    return frame.set_axis(
        ["the response", "I(x2<-system('touch owned'))", "if", "größe", "my g", "_h"], axis="columns"
    )


def holes() -> pd.DataFrame:
    """Missing values in every kind of column; level ``hi`` occurs only where x is missing."""
    frame = plain()
    frame["F"] = pd.Categorical.from_codes(np.arange(48) % 2, ["lo", "mid", "hi"])
    frame.loc[[3, 7], "F"] = "hi"
    frame.loc[[3, 7, 9], "x"] = np.nan
    frame.loc[5, "y"] = np.nan
    frame["C"] = frame["C"].astype(object)
    frame.loc[11, "C"] = None
    frame["g"] = frame["g"].astype("Int64")
    frame.loc[13, "g"] = pd.NA
    frame["B"] = frame["B"].astype("boolean")
    frame.loc[17, "B"] = pd.NA
    return frame


FRAMES = {"plain": plain, "awkward": awkward, "holes": holes}

# one formula between bars or lines
FIXED = """
y ~ 1 | y ~ 0 | y ~ x | y ~ x - 1 | y ~ 0 + x + z | y ~ x + 0 + 1 | y ~ F | y ~ 0 + F | y ~ O | y ~ O - 1
y ~ U | y ~ 0 + U | y ~ B | y ~ B - 1 | y ~ C | y ~ k + C | y ~ x * F | y ~ F * x | y ~ x:F | y ~ F:x
y ~ F:C | y ~ C:F | y ~ F + C:F | y ~ C + C:F | y ~ F * C * B | y ~ F * O | y ~ 0 + F:O | y ~ O:x
y ~ B * x | y ~ B:F | y ~ 0 + x + F | y ~ 0 + x:F + F | y ~ 0 + x:F | y ~ 0 + x + x:F | y ~ 0 + B + F
y ~ (x + F + O)^2 | y ~ (x + z + k)^3 - x:z:k | y ~ F / x | y ~ F / C | y ~ x %in% F | y ~ F + x %in% F
y ~ (F + B) / x | y ~ F * x - x | y ~ F * x - F | y ~ z:x + z - z + x | y ~ x:F + C | y ~ F:x + x:C
y ~ x:z + z | y ~ z + x:z | y ~ F:C:x | y ~ x:F:C | y ~ 0 + F:C + x:F | y ~ F:C - 1 | y ~ log(z)
log(y + 10) ~ log(z) * F | y ~ I(x^2) + I(k^2) | y ~ I(x*z) + I((x + 1)^2/z) | y ~ exp(-z) + sqrt(z)
y ~ log2(z) + log10(z) + log1p(z) + abs(x) | y ~ log(z, 2) + log(z, base = 10) | y ~ scale(x)
y ~ scale(x, scale = FALSE) | y ~ scale(z, center=FALSE) | y ~ poly(x, 2) | y ~ poly(k, 3) * F
y ~ poly(x, 2, raw = TRUE) | y ~ poly(x, 1) | y ~ poly(z, degree = 2):F | y ~ 0 + poly(x, 2)
y ~ 0 + poly(x, 2) * F | y ~ poly(x, 2):poly(z, 2) | y ~ factor(k) | y ~ factor(k) * x
y ~ as.factor(k):F | y ~ ordered(k) | y ~ 0 + ordered(k):x | y ~ factor(B) + factor(C)
y ~ I(-x) + I(x/100000) + I(0.50*x) + I(x * 1e-20) | y ~ -x + z | y ~ x - (x - z)
y ~ I(-x^2) + I(2^-k) | y ~ x**2
y ~ (F + B) %in% O | y ~ F + F:O + F:O:B | y ~ F:B + F:O | y ~ 0 + O + F:x + B:C
y ~ I(x + 1e5*k) + I(x-123456.789) | y ~ `x` + `F`
"""

# one formula between semicolons or lines
MIXED = {
    "plain": """
y ~ x + (1 | g) ; y ~ x + (x | g) ; y ~ (0 + x | g) ; y ~ (x || g) ; y ~ x + (x + z || g) ; y ~ (F | g)
y ~ (0 + F | g) ; y ~ (F || g) ; y ~ (x * z || g) ; y ~ (x * z | g) ; y ~ (1 | g / h)
y ~ (1 | g / h / i) ; y ~ x + (1 | g:h) ; y ~ (x | h:g) ; y ~ (1 | g) + (1 | h)
y ~ F + (O | h) + (B | g) ; y ~ (0 + x:F | g) ; y ~ (F:x | g) ; y ~ (x || g / h) ; y ~ (1 | U)
y ~ (1 | k) + (1 | B) ; y ~ (poly(x, 2) | g) ; y ~ (0 + poly(x, 2) * F | g) ; y ~ (log(z) + I(x^2) | h)
y ~ (1 | O) + (x | F) ; y ~ (1 | g:(h:i)) ; y ~ (0 + x + z || h) ; y ~ x:F + (F + x | h)
y ~ (F - 1 + x:F | g) ; y ~ 0 + x:F + x + (0 + x:F + x | h) ; log(y + 10) ~ scale(x) * F + (scale(x) | g)""",
    "awkward": """
`the response` ~ `I(x2<-system('touch owned'))` + (1 | `my g`)
`the response` ~ `if` * größe + (größe | `my g`)
`the response` ~ I(`I(x2<-system('touch owned'))`^2) + (0 + `if` || `my g`/`_h`)
`the response` ~ 1 + (`if` | `_h`:`my g`)""",
    "holes": """
y ~ x * F + (1 | g) ; y ~ scale(x) + (scale(x) | g) ; y ~ B + F + (F | g) ; y ~ x + C + (1 | g:h)
y ~ x + z - z + (1 | h) ; y ~ x + B - B + (1 | h) ; y ~ log(z) + (x || g)
y ~ 0 + poly(z, 2) + poly(z, 2):B + x + (0 + poly(z, 2) + poly(z, 2):F | h)""",
}


@dataclass
class Term:
    """One random term as lme4 has it; Z is dense, coefficient fastest within level."""

    group: str
    names: tuple[str, ...]
    levels: tuple[str, ...]
    Z: np.ndarray


@dataclass
class Answer:
    """What R made of one formula: over the user's data, and over the Model's aliases."""

    names: tuple[str, ...] = ()
    X: np.ndarray = field(default_factory=lambda: np.empty(0))
    terms: list[Term] = field(default_factory=list)
    aliased: list[tuple[tuple[str, ...], np.ndarray]] = field(default_factory=list)


@dataclass
class Case:
    """A formula over one of `FRAMES`."""

    frame: str
    formula: str
    missing: str = "omit"

    @property
    def id(self) -> str:
        """What pytest shows."""
        return f"{self.frame}-{self.formula}" + ("-pass" if self.missing == "pass" else "")

    def model(self) -> Model:
        """Ours."""
        return build(self.formula, FRAMES[self.frame](), missing=self.missing)


def fixed_cases() -> list[Case]:
    """Fixed effects only."""
    return [Case("plain", f.strip()) for f in FIXED.strip().replace("\n", " | ").split(" | ")]


def mixed_cases() -> list[Case]:
    """With random terms; data with missing values both ways."""
    cases = [
        Case(frame, f.strip())
        for frame, text in MIXED.items()
        for f in text.strip().replace("\n", ";").split(";")
    ]
    return cases + [Case(c.frame, c.formula, "pass") for c in cases if c.frame == "holes"]


def vector(series: pd.Series) -> str:
    """A column as R code: doubles to 17 digits, factors with levels in order."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        codes = ", ".join("NA" if c < 0 else f"{c + 1}L" for c in series.cat.codes)
        levels = ", ".join(text(str(c)) for c in series.cat.categories)
        kind = "c('ordered', 'factor')" if series.cat.ordered else "'factor'"
        return f"structure(c({codes}), levels = c({levels}), class = {kind})"
    missing = series.isna()

    def one(value: object) -> str:
        if isinstance(value, bool | np.bool_):
            return str(bool(value)).upper()
        if isinstance(value, int | np.integer):
            return f"{value}L"
        return text(value) if isinstance(value, str) else f"{value:.17g}"

    return "c(" + ", ".join("NA" if m else one(v) for v, m in zip(series, missing, strict=True)) + ")"


def text(value: str) -> str:
    """A string as R code."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def table(frame: pd.DataFrame) -> str:
    """A data frame as R code."""
    columns = ", ".join(vector(frame[c]) for c in frame)
    names = ", ".join(text(c) for c in frame)
    return f"setNames(data.frame({columns}), c({names}))"


PROLOGUE = """
suppressMessages(library(lme4))
invisible(Sys.setlocale("LC_COLLATE", "C"))  # C.UTF-8 alone still sorts text by ICU's rules
free <- lmerControl(check.nobs.vs.rankZ = "ignore", check.nobs.vs.nlev = "ignore", check.rankX = "ignore",
  check.nlev.gtreq.5 = "ignore", check.nlev.gtr.1 = "ignore", check.nobs.vs.nRE = "ignore",
  check.scaleX = "ignore", check.formula.LHS = "ignore")
line <- function(...) cat(paste(c(...), collapse = "\\t"), "\\n", sep = "")
put <- function(kind, m) { m <- as.matrix(m)
  line(kind, nrow(m), ncol(m)); line("names", colnames(m)); line("values", sprintf("%.17g", m)) }
mixed <- function(f, d) { l <- suppressWarnings(suppressMessages(lFormula(f, d, control = free)))
  put("X", l$X); r <- l$reTrms
  for (t in seq_along(r$cnms)) { flist <- r$flist[[attr(r$flist, "assign")[t]]]
    line("term", names(r$flist)[attr(r$flist, "assign")[t]])
    line("levels", levels(flist)); line("cnms", r$cnms[[t]])
    put("Z", t(as.matrix(r$Ztlist[[t]]))) } }
fixed <- function(f, d) put("X", model.matrix(f, model.frame(f, d, drop.unused.levels = TRUE)))
alias <- function(f, d) put("alias", model.matrix(f, d))
"""


@cache
def answers() -> dict[str, Answer]:
    """R's answer to every case, by its id."""
    script = [PROLOGUE]
    script += [f"{name} <- {table(make())}" for name, make in FRAMES.items()]
    cases = fixed_cases() + mixed_cases()
    for case in cases:
        model = case.model()
        script.append(f'line("case", {text(case.id)})')
        script.append(f"{'mixed' if model.random else 'fixed'}({case.formula}, {case.frame})")
        script.append(f"d <- droplevels(na.omit({table(model.data)}))")
        script.append(f"alias({model.spelling.fixed}, d)")
        script += [f"alias(~ {right}, d)" for right, _ in model.spelling.random]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "matrices.R"
        path.write_text("\n".join(script), encoding="utf-8")
        run = subprocess.run(
            ["Rscript", "--vanilla", str(path)],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            check=False,
            cwd=folder,
        )
    assert run.returncode == 0, run.stderr
    return _parsed(run.stdout)


def _parsed(output: str) -> dict[str, Answer]:
    found: dict[str, Answer] = {}
    lines = iter(output.splitlines())
    for line in lines:
        kind, *rest = line.split("\t")
        if kind == "case":
            answer = found[rest[0]] = Answer()
        elif kind == "term":
            levels, names = next(lines).split("\t")[1:], next(lines).split("\t")[1:]
            answer.terms.append(Term(re.sub(r"[()]", "", rest[0]), tuple(names), tuple(levels), np.empty(0)))
        else:
            names = next(lines).split("\t")[1:]
            values = np.array([float(v) for v in next(lines).split("\t")[1:]])
            matrix = values.reshape(int(rest[0]), int(rest[1]), order="F")
            if kind == "X":
                answer.names, answer.X = tuple(names), matrix
            elif kind == "Z":
                answer.terms[-1].Z = matrix
            else:
                answer.aliased.append((tuple(names), matrix))
    return found

"""r: how the engines of R are called. R starts once in a process and gets vectors, never text.

The functions themselves are plain R, in the folder ``r``; here is only what carries a Model to them
and their tables back. Nothing here starts R but `start` and `fit`: those are for a worker.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bridge.errors import ModelError, UnavailableError
from bridge.fit import Fit, Method, Profile, Row
from bridge.model import Model
from bridge.resources import find

if TYPE_CHECKING:
    import pandas as pd

# What each engine's numbers depend on, beside R and its BLAS; the first is the one that is called.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "lme4": ("lme4", "Matrix"),
    "nlme": ("nlme",),
    "glmmTMB": ("glmmTMB", "TMB", "Matrix"),
    "lm": (),
    "lmerTest": ("lmerTest", "lme4", "Matrix", "numDeriv"),
    "pbkrtest": ("pbkrtest", "lme4", "Matrix"),
}
FILES = ("tidy", "quietly", "warm", "versions", *PACKAGES)

# Aliases, 0, 1 and operators: as text, nothing else of a formula reaches R's parser.
_ALIASES = r"v\d+(?::v\d+)*"
_COLUMNS = rf"[01](?: \+ {_ALIASES})*"
SPELLING = re.compile(
    rf"v0 ~ {_COLUMNS}(?: \+ \({_COLUMNS} \| {_ALIASES}\))*(?: \+ (?:varIdent\(1|corAR1\(v\d+) \| v\d+\))?"
)

LONGEST = 4095
"""Bytes of a coefficient's name that R's model.matrix() keeps; of a longer one it drops the last part."""

OLDEST = (4, 2)
"""R that all of this is tested with; older ones are refused."""

PRINTED: list[str] = []  # what R wrote to its console since it was last looked at


def version(engine: str) -> dict[str, str]:
    """Versions of R, its BLAS and the engine's packages. Asks Rscript once; starts no R in this process.

    Raises
    ------
    UnavailableError
        R, the package or an rpy2 that can load this R is missing; the message says how to get it.
    """
    installed = _installed()
    found = {name: installed[name] for name in ("R", "BLAS", *PACKAGES[engine])}
    if old := outdated(found["R"]):
        raise UnavailableError(f"{engine}: {old}")
    for package in PACKAGES[engine]:
        if found[package] == "NA":
            raise UnavailableError(
                f"{engine}: R {found['R']} has no package {package}: "
                f'apt-get install r-cran-{package.lower()}, or install.packages("{package}") in R'
            )
    _rinterface()
    return found


def outdated(version: str) -> str:
    """Why an R is too old, with the fix; empty if it is not."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST:
        return ""
    return f"R {version} is too old: install R {OLDEST[0]}.{OLDEST[1]} or newer, or put it first on PATH"


def _rscript() -> str:
    if found := shutil.which("Rscript"):
        return found
    raise UnavailableError(
        "R is not installed (no Rscript on PATH): apt-get install r-base-core r-cran-lme4 r-cran-nlme "
        "r-cran-glmmtmb, or run docker/install-system.sh"
    )


@cache
def _installed() -> dict[str, str]:
    rscript = _rscript()
    code = (
        "at <- commandArgs(TRUE); source(at[1]); found <- versions(at[-1]); "
        'cat(paste0(names(found), "\\t", found), sep = "\\n")'
    )
    packages = sorted({name for names in PACKAGES.values() for name in names})
    command = [rscript, "--vanilla", "-e", code, str(find("r") / "versions.R"), *packages]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = (str(getattr(error, "stderr", "") or "").strip() or str(error)).splitlines()[-1]
        raise UnavailableError(f"R does not start ({rscript}): {said}; reinstall r-base-core") from error
    found = dict(line.split("\t", 1) for line in asked.stdout.splitlines() if "\t" in line)
    if not found.keys() >= {"R", "BLAS", *packages}:
        said = asked.stdout.strip()[:80]
        raise UnavailableError(
            f"{rscript} is no working R: asked for versions, it said {said!r}; reinstall R"
        )
    return found


@cache
def _rinterface() -> Any:
    """rpy2's lower layer: this loads R's library and leaves R unstarted."""
    _rscript()
    os.environ.setdefault("RPY2_CFFI_MODE", "ABI")
    if not find_spec("rpy2"):
        raise UnavailableError("rpy2 is not installed: RPY2_CFFI_MODE=ABI pip install 'lmmbridge[r]'")
    try:
        if not find_spec("rpy2.rinterface"):
            raise ImportError("it has no rinterface")
        return import_module("rpy2.rinterface")
    except (
        Exception,
        SystemExit,
    ) as error:  # a missing symbol, library or R_HOME, each by a class of its own
        raise UnavailableError(
            f"rpy2 cannot load this R ({type(error).__name__}: {error}): "
            "RPY2_CFFI_MODE=ABI pip install --force-reinstall 'lmmbridge[r]'"
        ) from error


@contextmanager
def _loader_path() -> Iterator[None]:
    """Keep ``LD_LIBRARY_PATH``: R puts the system's libraries first there.

    This process has read it long ago; a Python that it starts would load a foreign libpython by it.
    """
    before = os.environ.get("LD_LIBRARY_PATH")
    try:
        yield
    finally:
        os.environ.pop("LD_LIBRARY_PATH", None)
        if before is not None:
            os.environ["LD_LIBRARY_PATH"] = before


class Session:
    """R, started in this process, with the functions of the folder ``r``."""

    def __init__(self) -> None:
        self.ri = ri = _rinterface()
        callbacks: Any = import_module("rpy2.rinterface_lib.callbacks")
        callbacks.consolewrite_print = callbacks.consolewrite_warnerror = PRINTED.append
        embedded: Any = import_module("rpy2.rinterface_lib.embedded")
        if not embedded.isinitialized():
            embedded.set_initoptions(("rpy2", "--quiet", "--no-save", "--vanilla"))
            with _loader_path():
                ri.initr()
        base = ri.baseenv
        # Messages in R's own words, labels as they are and in code-point order, in whatever locale.
        base["Sys.setenv"](LANGUAGE=self.text("en"))
        base["suppressWarnings"](base["Sys.setlocale"](self.text("LC_CTYPE"), self.text("C.UTF-8")))
        base["Sys.setlocale"](self.text("LC_COLLATE"), self.text("C"))
        self.home = base["new.env"](parent=ri.globalenv)
        for name in FILES:
            base["sys.source"](self.text(str(find("r") / f"{name}.R")), self.home)
        self.versions: dict[str, dict[str, str]] = {}

    def load(self, engine: str) -> None:
        """Load the engine's packages, so that no fit's clock does."""
        if engine in self.versions:
            return
        for package in PACKAGES[engine]:
            answer = self.call(self.ri.baseenv["loadNamespace"], self.text(package))
            if "error" in answer:
                raise UnavailableError(f"{engine}: R cannot load {package}: {answer['error'][0]}")
        self.call(self.home["warm"], self.home[f"fit_{engine}"])
        asked = self.home["versions"](self.text(*PACKAGES[engine]))
        self.versions[engine] = dict(zip(asked.names, asked, strict=True))
        PRINTED.clear()

    def call(self, function: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
        """`value` or `error`, and `messages`."""
        return _named(self.home["quietly"](function, *arguments, **named))

    def text(self, *strings: str) -> Any:
        """A character vector."""
        return self.ri.StrSexpVector(strings)

    def formula(self, spelling: str) -> Any:
        """R's formula of a spelling over aliases."""
        if not SPELLING.fullmatch(spelling):
            raise ModelError(f"formula {spelling!r}: not a spelling over aliases")
        return self.ri.globalenv.find("as.formula")(self.text(spelling), env=self.ri.globalenv)

    def frame(self, data: pd.DataFrame) -> Any:
        """R's data frame: numeric columns and factors, levels in order; missing is NA."""
        frame = self.ri.ListSexpVector([self.column(data[name]) for name in data])
        frame.names = self.text(*map(str, data))
        return self.ri.baseenv["list2DF"](frame)

    def column(self, series: pd.Series) -> Any:
        """One column as an R vector."""
        if series.dtype != "category":
            values: Any = np.ascontiguousarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
            return self.ri.FloatSexpVector.from_memoryview(memoryview(values))
        codes: Any = np.asarray(series.cat.codes, dtype=np.int32) + np.int32(1)
        codes[codes == 0] = np.iinfo(np.int32).min  # R's NA_integer_
        kind = ["ordered"] if series.cat.ordered else []
        return self.ri.baseenv["structure"](
            self.ri.IntSexpVector.from_memoryview(memoryview(codes)),
            levels=self.text(*map(str, series.cat.categories)),
            **{"class": self.text(*kind, "factor")},
        )


@cache
def _session() -> Session:
    return Session()


def start(engine: str) -> None:
    """Start R in this process, unless it runs, and load the engine's package.

    Raises
    ------
    UnavailableError
        As `version`.
    """
    _session().load(engine)


def fit(engine: str, model: Model, method: Method, profile: Profile) -> Fit:
    """Call ``fit_<engine>`` of ``r/<engine>.R`` on the model's aliased data; an R error is a refusal."""
    start(engine)
    session = _session()
    blank = Fit(engine, method, profile, versions=session.versions[engine])
    data, formula = session.frame(model.data), session.formula(model.spelling.formula)
    aliases = {"weights": model.spelling.weights, "offset": model.spelling.offset}
    known = {role: session.text(alias) for role, alias in aliases.items() if alias}
    PRINTED.clear()
    begin = perf_counter()
    try:
        answer = session.call(
            session.home[f"fit_{engine}"], data, formula, session.text(method), session.text(profile), **known
        )
    except session.ri.embedded.RRuntimeError as error:  # out of R's own reach, as a stack that ran over
        return blank.having(status="refused", reason=str(error).strip(), seconds=perf_counter() - begin)
    printed = "".join(PRINTED).strip()
    blank = blank.having(messages=(*answer["messages"], *([printed] if printed else [])))
    if "error" in answer:
        reason = answer["error"][0]
        return blank.having(status="refused", reason=reason, seconds=perf_counter() - begin)
    value = _named(answer["value"])
    facts = {name: vector[0] for name, vector in _named(value["facts"]).items()}
    return blank.having(
        rows=_rows(model, _named(value["rows"])),
        loglik=float(facts["loglik"]),
        sigma=float(facts["sigma"]),
        n=int(facts["n"]),
        converged=facts["converged"] if isinstance(facts["converged"], bool) else None,
        seconds=float(facts["seconds"]),
    )


def _named(vector: Any) -> dict[str, Any]:
    return dict(zip(vector.names, vector, strict=True))


def _rows(model: Model, table: Mapping[str, Any]) -> tuple[Row, ...]:
    """The tidy table in the model's names. What is not one of the model's keeps R's, for the audit to see."""
    names, levels = _terms(model), _levels(model)
    groups = {_group(factors): term.group for (_, factors), term in _random(model)}
    numbers = (np.asarray(table[name].memoryview()).tolist() for name in ("estimate", "std_error", "df"))
    texts = (table[name] for name in ("effect", "group", "level", "term"))
    rows = []
    for effect, group, level, term, estimate, std_error, df in zip(*texts, *numbers, strict=True):
        if effect == "fixed":
            name = model.spelling.fixed_names.get(term, term)
            rows.append(Row("fixed", name, estimate, std_error=std_error, df=None if np.isnan(df) else df))
            continue
        label = levels.get(group, {}).get(level, (level,)) if effect == "ran_vals" else None
        name = names.get(group, {}).get(term, term)
        rows.append(Row(effect, name, estimate, groups.get(group, group), label))
    return tuple(rows)


def _random(model: Model) -> Any:
    return zip(model.spelling.random, model.random, strict=True)


def _group(factors: tuple[str, ...]) -> str:
    return ":".join(factors)


def _levels(model: Model) -> dict[str, dict[str, tuple[str, ...]]]:
    """R's label of a level to its tuple, by R's group; `bridge.model` refuses labels that run together."""
    return {
        _group(factors): {":".join(level): level for level in term.levels}
        for (_, factors), term in _random(model)
    }


def _terms(model: Model) -> dict[str, dict[str, str]]:
    """R's term of a random row, var__ and cov__ too, to the model's, by R's group."""
    found: dict[str, dict[str, str]] = {}
    for ((_, factors), term), spelled in zip(_random(model), model.spelling.random_names, strict=True):
        of = found.setdefault(_group(factors), {})
        for a, ours in spelled.items():
            of |= {a: ours, f"var__{a}": f"var__{ours}"}
            for b, other in spelled.items():
                first, second = sorted((ours, other), key=term.names.index)
                of[f"cov__{a}.{b}"] = f"cov__{first}.{second}"
    return found


def unnamed(model: Model) -> str | None:
    """Why R cannot name the model's coefficients, None if it can."""
    spelling = model.spelling
    names = (name for these in (spelling.fixed_names, *spelling.random_names) for name in these.items())
    for alias, name in names:
        if len(alias.encode()) > LONGEST:
            short = f"{name[:40]}..."
            return f"R cuts coefficient names off after {LONGEST} bytes, as {short}; shorten that label"
    return None


class Adapter:
    """What the R engines share: the way to R; see `Engine` for the attributes."""

    name: str
    language: Literal["Python", "R"] = "R"
    family: str = "R"
    std_error: Literal["phi", "joint", "kenward-roger", "none"] = "phi"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "none"
    pooling: Literal["partial", "complete"] = "partial"

    def version(self) -> Mapping[str, str]:
        """Versions of R, its BLAS and the packages."""
        return version(self.name)

    def start(self) -> None:
        """Start R and load the package, before a fit's clock runs."""
        start(self.name)

    def supports(self, model: Model, method: Method) -> str | None:
        """None if it can express the model, else the reason in a sentence."""
        if model.random:
            return unnamed(model)
        return f"{self.name} fits models with a random term, and this one has none"

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Fit in this process; an R error is a `refused` Fit with R's words."""
        return fit(self.name, model, method, profile)

"""Repro: one disagreement as a script that stands alone, in R or Python, for an upstream issue.

The data are inline, exact to the bit; the engine is called plainly; what is right follows from the
log-likelihood's definition, a dense V, at the certified (Psi, sigma2). Nothing of ours is imported.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge import tolerance
from bridge.engines.engine import unsupported
from bridge.engines.table import Table
from bridge.errors import BridgeError
from bridge.fit import Method, Profile
from bridge.model import Matrix
from bridge.report.text import clean
from bridge.repro_call import Call
from bridge.repro_calls import CALLS, TABLES

if TYPE_CHECKING:
    import pandas as pd

    from bridge.catalogue import Referee
    from bridge.entry import Entry
    from bridge.reference import Reference

DENSE = 2000
"""Rows up to which a script makes V as a whole, n x n."""
WIDTH = 100


def repro(referee: Referee, entry: Entry, engine: str, method: Method, profile: Profile = "default") -> str:
    """The script.

    Raises
    ------
    BridgeError
        No script can be written for this engine, or it cannot express the model, or the data do not
        identify it.
    """
    from bridge import engines

    if engine == "numpy":
        raise BridgeError("engine numpy: it is lmmbridge's own, there is no upstream; name another engine")
    if engine not in CALLS:
        engines.check(engine)
        known = ", ".join(CALLS)
        raise BridgeError(f"engine {engine}: there is no script for it; use one of {known}")
    adapter = engines.get(engine)
    pooled = adapter.pooling == "complete"
    if reason := unsupported(adapter, entry.model, method):
        raise BridgeError(f"engine {engine}: cannot express {entry.name}, {method}: {reason}")
    if problems := [] if pooled else entry.problems():
        raise BridgeError(f"{entry.name}: nothing is right for this model: {problems[0]}; name another case")
    model = entry.unpooled if pooled else entry.model
    table = Table.of(model) if engine in TABLES else None
    reference = referee.reference(entry, method, adapter.pooling)
    call = Call(adapter, model, method, profile, table)
    mine = [k for k in entry.known if (k.engine, k.relation) == (engine, "") and method in k.methods]
    said = [f"{'/'.join(k.verdicts)}: {k.reason} {k.link}" for k in mine if profile in k.profile]
    words = R if adapter.language == "R" else PYTHON
    return _Script(entry.name, call, reference, tuple(said), words).text()


@dataclass(frozen=True, slots=True)
class Language:
    """How a language writes things down.

    Attributes
    ----------
    name : str
    pick : str
        A column of the complete rows.
    """

    name: str
    pick: str

    def numbers(self, values: Iterable[float]) -> str:
        """A vector, exact to the bit."""
        return self.vector([self.number(float(v)) for v in values])

    def number(self, value: float) -> str:
        """One double: whole numbers as they are, any other in hexadecimal."""
        if not np.isfinite(value):
            return {"R": "NA"}.get(self.name, "np.nan")
        if value == int(value) and abs(value) < 1e15:
            return str(int(value)) + ("" if self.name == "R" else ".")
        sign = "-" if value < 0 else ""
        mantissa, exponent = abs(value).hex().split("p")
        text = f"{sign}{mantissa.rstrip('0').rstrip('.')}p{int(exponent):+d}"
        return text if self.name == "R" else f'h("{text}")'

    def strings(self, labels: Iterable[str]) -> str:
        """A vector of labels."""
        return self.vector([self.string(label) for label in labels])

    def string(self, label: str) -> str:
        """One label, in ASCII."""
        if self.name != "R":
            return ascii(label)
        special = {"\\": "\\\\", '"': '\\"'}
        plain = (special.get(c, c) if 32 <= ord(c) < 127 else f"\\U{{{ord(c):x}}}" for c in label)
        return f'"{"".join(plain)}"'

    def vector(self, parts: Sequence[str]) -> str:
        """Parts as a vector, wrapped."""
        text = textwrap.fill(", ".join(parts), WIDTH, break_long_words=False, break_on_hyphens=False)
        if any(" " in part for part in parts):  # never inside a label
            text = ", ".join(parts)
        return f"c({text})" if self.name == "R" else f"[{text}]"

    def matrix(self, G: Matrix) -> str:
        """A (k, k) matrix."""
        if self.name == "R":
            return f"matrix({self.numbers(G.T.ravel())}, {len(G)})"
        return f"np.array({self.numbers(G.ravel())}).reshape({len(G)}, {len(G)})"


R = Language("R", "d${}")
PYTHON = Language("Python", 'd["{}"].to_numpy()')


@dataclass(frozen=True, eq=False, slots=True)
class _Script:
    case: str
    call: Call
    reference: Reference
    known: tuple[str, ...]
    language: Language

    def text(self) -> str:
        parts = [self.head(), self.imports(), self.frame(), self.arrays()]
        dense = self.call.model.n <= DENSE
        if dense:
            parts.append(self.definition())
        else:
            parts.append(
                f"# With {self.call.model.n} rows V is too large to be made as a whole: what is right is "
                "not worked out here."
            )
        parts += [self.right(dense), self.engine(), self.compared()]
        return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"

    def head(self) -> str:
        call, model = self.call, self.call.model
        spelling = model.spelling
        settings = "default settings" if not call.tight else "most careful settings"
        lines = [
            f"{call.engine.name} against the {call.method} optimum: {self.case}, {settings}",
            f"Model: {model.formula}",
            *(f"Known: {text}" for text in self.known),
            "",
            "Written by lmmbridge; nothing of it is needed to run this. Columns have plain names:",
            f"v0 is {model.response}",
            *(f"{a} is {name}" for a, name in spelling.fixed_names.items() if a != "(Intercept)"),
            *(
                f"{':'.join(factors)} is {term.group}"
                for (_, factors), term in zip(spelling.random, model.random, strict=bool(model.random))
            ),
            *([f"{spelling.weights} is the weights, {model.weights_column}"] if spelling.weights else []),
            *([f"{spelling.offset} is the offset, {model.offset_column}"] if spelling.offset else []),
        ]
        return "\n".join(f"# {clean(line)}".rstrip() for line in dict.fromkeys(lines))

    def imports(self) -> str:
        if self.language is R:
            return ""
        return (
            "import sys\nfrom importlib.metadata import version\n\n"
            "import numpy as np\nimport pandas as pd\n\nh = float.fromhex"
        )

    @property
    def data(self) -> pd.DataFrame:
        return self.call.table.data if self.call.table is not None else self.call.model.data

    def frame(self) -> str:
        say, columns = self.language, []
        for name in self.data:
            column = self.data[name]
            if column.dtype != "category":
                values = say.numbers(column)
            elif say is R:
                codes = say.vector([str(c + 1) if c >= 0 else "NA" for c in column.cat.codes])
                labels = say.strings(column.cat.categories)
                kind = ', class = c("ordered", "factor")' if column.cat.ordered else ', class = "factor"'
                integer = f"as.integer({codes})"
                values = f"structure({integer}, levels = {labels}{kind})"
            else:
                codes = say.vector([str(c) for c in column.cat.codes])
                labels = say.strings(column.cat.categories)
                values = f"pd.Categorical.from_codes({codes}, {labels}, ordered={column.cat.ordered})"
            columns.append(f"  {name} = {values}" if say is R else f'    "{name}": {values}')
        inside = ",\n".join(columns)
        return f"data <- data.frame(\n{inside}\n)" if say is R else f"data = pd.DataFrame({{\n{inside}\n}})"

    def arrays(self) -> str:
        """`y`, `X`, and per random term `Z` and the level `g` of each row, over the complete rows."""
        model, say = self.call.model, self.language
        arrow = "<-" if say is R else "="
        lines = ["# The model's matrices, over the complete rows"]
        lines.append("d <- na.omit(data)" if say is R else "d = data.dropna()")
        lines.append(f"y {arrow} {say.pick.format('v0')}")
        lines.append(f"X {arrow} {self.columns(model.X)}")
        pairs = list(zip(model.random, model.spelling.random, strict=True)) if model.random else []
        Z = [self.columns(term.Z) for term, _ in pairs]
        g = [self.levels(term.index, factors) for term, (_, factors) in pairs]
        for name, parts in (("Z", Z), ("g", g)):
            inside = ", ".join(parts)
            lines.append(f"{name} <- list({inside})" if say is R else f"{name} = [{inside}]")
        for name, column, none in (
            ("w", model.spelling.weights, ("rep(1, length(y))", "np.ones(len(y))")),
            ("offset", model.spelling.offset, ("0", "0.0")),
        ):
            lines.append(f"{name} {arrow} {say.pick.format(column) if column else none[say is not R]}")
        return "\n".join(lines)

    def columns(self, matrix: Matrix) -> str:
        """A matrix by its columns: those of the data by name, any other inline."""
        whole = self.data.dropna()
        known = {whole[c].to_numpy().tobytes(): c for c in whole if whole[c].dtype == np.float64}
        found = []
        for column in matrix.T:
            values = np.ascontiguousarray(column)
            if (values == 1).all():
                found.append("rep(1, length(y))" if self.language is R else "np.ones(len(d))")
            elif name := known.get(values.tobytes()):
                found.append(self.language.pick.format(name))
            else:
                found.append(self.language.numbers(values))
        inside = ", ".join(found)
        if self.language is R:
            return f"cbind({inside})" if found else "matrix(0, length(y), 0)"
        return f"np.column_stack([{inside}])" if found else "np.zeros((len(d), 0))"

    def levels(self, index: NDArray[np.intp], factors: Sequence[str]) -> str:
        """Level of each row: from the factors where that gives the model's own order, else inline."""
        if self.language is R:
            names = ", ".join(f'"{f}"' for f in factors)
            return f"as.integer(interaction(d[c({names})], drop = TRUE))"
        whole = self.data.dropna()
        same = whole.groupby(list(factors), observed=True).ngroup().to_numpy()
        if (same == index).all():
            return f"d.groupby({list(factors)}, observed=True).ngroup().to_numpy()"
        return f"np.array({self.language.vector([str(i) for i in index])})"

    def definition(self) -> str:
        reml = self.call.method == "REML"
        G = ", ".join(self.language.matrix(G) for G in self.reference.best.psi)
        sigma2 = self.language.number(self.reference.best.sigma2)
        kind = self.reference.kind
        if self.language is R:
            return DEFINITION_R.format(
                G=G,
                sigma2=sigma2,
                errors=self.errors(),
                kind=kind,
                nu="length(y) - ncol(X)" if reml else "length(y)",
                reml=" + 2 * sum(log(abs(diag(R))))" if reml else "",
            )
        return DEFINITION_PYTHON.format(
            G=G,
            sigma2=sigma2,
            kind=kind,
            nu="len(y) - X.shape[1]" if reml else "len(y)",
            reml=" + 2 * np.log(np.abs(np.diag(R))).sum()" if reml else "",
        )

    def errors(self) -> str:
        """The errors' covariance, in R."""
        errors, parameters = self.call.model.spelling.errors, self.reference.residual.tolist()
        if self.call.model.residual is None or errors is None:
            return "diag(sigma2 / w, length(y))"
        if errors.position is None:
            ratios = self.language.numbers([1.0, *parameters])
            return f"diag(sigma2 * {ratios}[as.integer(d${errors.group.text})]^2 / w, length(y))"
        apart = f'abs(outer(d${errors.position.text}, d${errors.position.text}, "-"))'
        same = f'outer(d${errors.group.text}, d${errors.group.text}, "==")'
        return f"sigma2 * {self.language.number(parameters[0])}^{apart} * {same}"

    def right(self, dense: bool) -> str:
        """What the reference says, and what the definition gave."""
        ref, names, say = self.reference, self.call.model.names, self.language
        beta, se = say.numbers(ref.beta), say.numbers(ref.std_error)
        arrow = "<-" if say is R else "="
        lines = [
            f"# What is right ({ref.kind}); standard errors are the roots of diag (X'V^-1X)^-1",
            f"names {arrow} {say.strings(map(clean, names))}",
            f"right_loglik {arrow} {say.number(ref.loglik)}",
            f"right_beta {arrow} {beta if say is R else f'np.array({beta})'}",
            f"right_se {arrow} {se if say is R else f'np.array({se})'}",
            SHOW_R if say is R else SHOW_PYTHON,
        ]
        if dense:
            given = '"by its definition", at_loglik, at_beta, at_se'
            lines.append(f"show({given})")
        lines.append(f'show("{ref.kind}", right_loglik, right_beta, right_se)')
        return "\n".join(lines)

    def engine(self) -> str:
        """The call, and versions."""
        lines, packages = CALLS[self.call.engine.name]
        name = self.call.engine.name
        head = f"# {name}, called plainly" if not self.call.tight else f"# {name}, as carefully as it can"
        if self.language is R:
            shown = ", ".join(
                ["R.version.string", *(f'"{p}", format(packageVersion("{p}"))' for p in packages)]
            )
            said = f'cat({shown}, "\\n")'
        else:
            shown = ", ".join(f'"{p}", version("{p}")' for p in packages)
            said = f'print("Python", sys.version.split()[0], {shown})'
        return f'{head}\n{said}\n{lines(self.call)}\nshow("{name}", loglik, beta, se)'

    def compared(self) -> str:
        engine, profile = self.call.engine, self.call.profile

        def limit(quantity: str) -> str:
            return repr(tolerance.lookup(quantity, engine.name, engine.family, profile).value)

        of_r, held = self.language is R, engine.std_error == "phi"
        other = f"; its standard errors are of another kind ({engine.std_error}), not held to these"
        return (COMPARED_R if of_r else COMPARED_PYTHON).format(
            name=engine.name,
            loglik=limit("logLik"),
            beta=limit("beta"),
            se=limit("SE") if held else "Inf" if of_r else "np.inf",
            note="" if held else other,
            given="[1:]" if engine.name == "ols" and self.call.method == "REML" else "",  # it has no logLik
        )


DEFINITION_R = """\
# The log-likelihood from its definition: V, Z G Z' and the errors' covariance, as a whole matrix
G <- list({G})  # {kind}
sigma2 <- {sigma2}
V <- {errors}
for (i in seq_along(G)) V <- V + Z[[i]] %*% G[[i]] %*% t(Z[[i]]) * outer(g[[i]], g[[i]], "==")
C <- t(chol(V))
Q <- qr(forwardsolve(C, X), tol = 0)
R <- qr.R(Q)
white <- forwardsolve(C, y - offset)
at_beta <- qr.coef(Q, white)
at_se <- sqrt(diag(chol2inv(R)))
nu <- {nu}
at_loglik <- -(nu * log(2 * pi) + 2 * sum(log(diag(C))){reml} + sum(qr.resid(Q, white)^2)) / 2"""

DEFINITION_PYTHON = """\
# The log-likelihood from its definition: V = Z G Z' + sigma2 / w as a whole matrix
G = [{G}]  # {kind}
sigma2 = {sigma2}
V = np.diag(sigma2 / w)
for Zi, Gi, gi in zip(Z, G, g):
    V += Zi @ Gi @ Zi.T * (gi[:, None] == gi)
C = np.linalg.cholesky(V)
Q, R = np.linalg.qr(np.linalg.solve(C, X))
white = np.linalg.solve(C, y - offset)
at_beta = np.linalg.solve(R, Q.T @ white)
at_se = np.sqrt((np.linalg.inv(R) ** 2).sum(axis=1))
nu = {nu}
rss = ((white - Q @ (Q.T @ white)) ** 2).sum()
at_loglik = -(nu * np.log(2 * np.pi) + 2 * np.log(np.diag(C)).sum(){reml} + rss) / 2"""

SHOW_R = """\
show <- function(who, loglik, beta, se) {
  cat(sprintf("%s: logLik %.12g\\n", who, loglik))
  cat(sprintf("  %s: %.10g (SE %.8g)\\n", names, beta, se), sep = "")
}"""

SHOW_PYTHON = """\
def show(who, loglik, beta, se):
    print(f"{who}: logLik {loglik:.12g}")
    for name, b, s in zip(names, beta, se):
        print(f"  {name}: {b:.10g} (SE {s:.8g})")"""

COMPARED_R = """\
# By how much they differ, and whether that is more than rounding and an optimiser's slack{note}
most <- function(x) max(0, abs(x))
off <- c(most(loglik - right_loglik), most((beta - right_beta) / right_se), most(se / right_se - 1))
differs <- anyNA(off) || any(off > c({loglik}, {beta}, {se}))
cat(sprintf(
  "%s: {name} is off by %.3g in logLik, %.3g SE in beta, %.2g %% in SE\\n",
  if (differs) "DISAGREES" else "AGREES", off[1], off[2], 100 * off[3]
))
if (!interactive()) quit(status = as.integer(differs))"""

COMPARED_PYTHON = """\
# By how much they differ, and whether that is more than rounding and an optimiser's slack{note}
off = [
    abs(loglik - right_loglik),
    np.max(np.abs(beta - right_beta) / right_se, initial=0.0),
    np.max(np.abs(se / right_se - 1), initial=0.0),
]
differs = np.isnan(off{given}).any() or np.any(np.array(off) > [{loglik}, {beta}, {se}])
print(
    "DISAGREES:" if differs else "AGREES:",
    f"{name} is off by {{off[0]:.3g}} in logLik, {{off[1]:.3g}} SE in beta, {{100 * off[2]:.2g}} % in SE",
)
sys.exit(int(differs))"""

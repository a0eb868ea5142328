"""Relation: one model said in other words. The same engine must give the same answer, told back.

No reference is needed: shift and scale the response or a predictor, permute rows, rename levels,
duplicate the data, swap terms, multiply an interaction out, add a constant column. Each makes an
`Image`, a table and a formula, and `told_back` takes an answer for it into the original's terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.audit import Answer, align
from bridge.fit import Fit, Method
from bridge.formula import Formula, Part, columns
from bridge.grammar import Name, deparse
from bridge.model import Matrix, Model, RandomTerm, build
from bridge.variable import Factor, as_factor, read

if TYPE_CHECKING:
    import pandas as pd

SEED = 20_261
EXACT = 1e-9
"""Relative misfit up to which one set of columns counts as a linear change of another."""


@dataclass(frozen=True, eq=False, slots=True)
class Image:
    """A table and a formula that say the same as the original.

    Attributes
    ----------
    frame : DataFrame
        Normalised.
    formula : str
    rows : (m,) int array
        Row of the original that each row is.
    shift, scale : float
        Response = shift + scale * the original's.
    labels : mapping of column to mapping of str to str
        The original's label of each label that was changed; a copy's label is not in it.
    copies : int
        How often the data are in it.
    spare : bool
        Whether there is a fixed effect too many, which an engine may drop or refuse.
    """

    frame: pd.DataFrame
    formula: str
    rows: NDArray[np.intp]
    shift: float = 0.0
    scale: float = 1.0
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    copies: int = 1
    spare: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Original:
    """What is said in other words: a table without missing values, a formula, and their Model."""

    frame: pd.DataFrame
    formula: Formula
    model: Model
    weights: str = ""
    offset: str = ""

    @property
    def every(self) -> NDArray[np.intp]:
        """All rows, in order."""
        return np.arange(len(self.frame))

    def plain(self) -> list[str]:
        """Numeric columns that the fixed part takes as they are."""
        names = [v.text for v in self.formula.fixed.variables if isinstance(v, Name)]
        return [name for name in names if self.frame[name].dtype.kind in "if"]

    def groups(self) -> list[str]:
        """Grouping columns."""
        return list(dict.fromkeys(f.text for bar in self.formula.random for f in bar.factors))

    def group(self, name: str) -> Factor:
        """A grouping column as a factor."""
        return as_factor(read(self.frame[name], name, name), name, name)

    def again(self, image: Image) -> Model:
        """Model of an image."""
        return build(image.formula, image.frame, weights=self.weights, offset=self.offset)

    def fixed(self) -> set[str]:
        """Columns named outside the grouping factors."""
        parts = (self.formula.response, self.formula.fixed, *(bar.part for bar in self.formula.random))
        return set(columns(parts))


@dataclass(frozen=True, slots=True)
class Relation:
    """One way of saying a model again.

    Attributes
    ----------
    name : str
        As users type it: ``scaled-y``.
    what : str
        What is changed, in words.
    follows : str
        What must follow, in words.
    image : callable
        Image of an Original, or None where the relation does not apply.
    methods : tuple of {"REML", "ML"}
        Those under which nothing changes.
    """

    name: str
    what: str
    follows: str
    image: Callable[[Original], Image | None]
    methods: tuple[Method, ...] = ("REML", "ML")


def spell(formula: Formula, *, step: int = 1, degree: int = 99, extra: tuple[str, ...] = ()) -> str:
    """The formula written out: terms backwards if `step` is -1, fixed ones up to `degree`, and `extra`."""

    def right(part: Part, most: int, more: tuple[str, ...]) -> str:
        terms = [":".join(map(deparse, term)) for term in part.terms if len(term) <= most]
        return " + ".join(["1" if part.intercept else "0", *terms[::step], *more])

    fixed = f"{deparse(formula.response)} ~ {right(formula.fixed, degree, extra)}"
    bars = [f"({right(b.part, 99, ())} | {':'.join(map(deparse, b.factors))})" for b in formula.random]
    return " + ".join([fixed, *bars[::step]])


def scaled_response(original: Original) -> Image | None:
    """Response to 2 sd + 2.5 times itself; one that is a transformed column has no such image."""
    response = original.formula.response
    if not isinstance(response, Name) or original.offset:
        return None
    if (
        np.linalg.matrix_rank(np.column_stack([original.model.X, np.ones(original.model.n)]))
        > original.model.p
    ):
        return None
    shift, scale = 2 * float(np.std(original.model.y)), 2.5
    frame = original.frame.assign(**{response.text: shift + scale * original.model.y})
    return Image(frame, original.formula.text, original.every, shift, scale)


def scaled_predictor(original: Original) -> Image | None:
    """A predictor to sd + half of itself; halved only, where its origin is part of the model."""
    for name in original.plain():
        x = original.frame[name].to_numpy(float)
        for shift in (float(np.std(x)), 0.0):
            frame = original.frame.assign(**{name: shift + 0.5 * x})
            image = Image(frame, original.formula.text, original.every)
            if translation(original, image, original.again(image)) is not None:
                return image
    return None


def permuted_rows(original: Original) -> Image:
    """Rows in another order."""
    order = np.random.default_rng(SEED).permutation(len(original.frame))
    return Image(original.frame.iloc[order].reset_index(drop=True), original.formula.text, order)


def renamed_levels(original: Original) -> Image | None:
    """Levels of the grouping factors under other labels, in another order."""
    import pandas as pd

    rng = np.random.default_rng(SEED)
    labels, changed = {}, {}
    for name in original.groups():
        if name in original.fixed():
            continue
        old = original.group(name)
        new = np.array([f"level {i:06d} ü" for i in rng.permutation(len(old.levels))])
        labels[name] = dict(zip(new.tolist(), old.levels, strict=True))
        changed[name] = pd.Categorical(new[old.codes], categories=sorted(new))
    frame = original.frame.assign(**changed)
    return Image(frame, original.formula.text, original.every, labels=labels) if changed else None


def duplicated_data(original: Original) -> Image | None:
    """Every group a second time, under another label. REML would count p twice, too."""
    import pandas as pd

    if set(original.groups()) & original.fixed():
        return None
    frame = pd.concat([original.frame] * 2, ignore_index=True)
    for name in original.groups():
        old = original.group(name)
        labels = [*old.levels, *(f"{label} again" for label in old.levels)]
        codes = np.concatenate([old.codes, old.codes + len(old.levels)])
        frame[name] = pd.Categorical.from_codes(codes, labels)
    return Image(frame, original.formula.text, np.tile(original.every, 2), copies=2)


def swapped_terms(original: Original) -> Image | None:
    """Fixed and random terms in reverse order."""
    if len(original.formula.fixed.terms) < 2 and len(original.formula.random) < 2:
        return None
    return Image(original.frame, spell(original.formula, step=-1), original.every)


def multiplied_out(original: Original) -> Image | None:
    """Interactions of the fixed part as columns of products."""
    if all(len(term) < 2 for term in original.formula.fixed.terms):
        return None
    short = Image(original.frame, spell(original.formula, degree=1), original.every)
    main, model = original.again(short), original.model
    products = [name for name in model.names if name not in main.names]
    if [name for name in model.names if name in main.names] != list(main.names):
        return None
    new = {f"product_{i}": model.X[:, model.names.index(name)] for i, name in enumerate(products)}
    formula = spell(original.formula, degree=1, extra=tuple(new))
    return Image(original.frame.assign(**new), formula, original.every)


def constant_column(original: Original) -> Image | None:
    """One more fixed effect, a column of zero variance beside the intercept: to be dropped, or refused."""
    if not original.formula.fixed.intercept:
        return None
    frame = original.frame.assign(constant_column=1.0)
    formula = spell(original.formula, extra=("constant_column",))
    return Image(frame, formula, original.every, spare=True)


RELATIONS = (
    Relation(
        "scaled-y",
        "the response shifted by 2 sd and multiplied by 2.5",
        "beta, BLUPs and roots of variances times 2.5, the intercept shifted too, logLik less nu log 2.5",
        scaled_response,
    ),
    Relation(
        "scaled-x",
        "a predictor shifted by its sd and halved",
        "coefficients, G and BLUPs by the linear change of columns T; REML logLik less log abs(det T)",
        scaled_predictor,
    ),
    Relation("permuted-rows", "rows in another order", "nothing changes", permuted_rows),
    Relation(
        "renamed-levels",
        "groups under other labels, sorted otherwise",
        "nothing changes but the labels",
        renamed_levels,
    ),
    Relation(
        "duplicated-data",
        "every group twice",
        "beta, G, sigma and BLUPs as they are, logLik twice",
        duplicated_data,
        ("ML",),
    ),
    Relation(
        "swapped-terms",
        "terms of the formula in reverse order",
        "nothing changes but the order",
        swapped_terms,
    ),
    Relation(
        "multiplied-out",
        "an interaction as columns of products",
        "nothing changes but the names",
        multiplied_out,
    ),
    Relation(
        "constant-column",
        "a fixed effect that is constant, beside the intercept",
        "the column is dropped and nothing changes, or the model is refused",
        constant_column,
    ),
)


@dataclass(frozen=True, eq=False, slots=True)
class Translation:
    """Linear changes: image's X = X T, and for each random term of the original its image's and its T."""

    fixed: Matrix
    terms: tuple[tuple[int, Matrix], ...]


def translation(original: Original, image: Image, again: Model) -> Translation | None:
    """How the image's columns come from the original's; None if it is another model."""
    model = original.model
    if len(again.y) != len(image.rows):
        return None
    fixed = _change(model.X[image.rows], again.X)
    if fixed is None or np.linalg.matrix_rank(fixed) < model.p:
        return None
    free, terms = list(range(len(again.random))), []
    for term in model.random:
        for j in free:
            T = _change(term.Z[image.rows], again.random[j].Z)
            if set(again.random[j].factors) == set(term.factors) and T is not None and len(T) == T.shape[1]:
                terms.append((j, T))
                free.remove(j)
                break
        else:
            return None
    return Translation(fixed, tuple(terms))


def told_back(original: Original, image: Image, again: Model, fit: Fit, method: Method) -> tuple[Answer, Fit]:
    """An engine's answer for the image, in the original's terms: coefficients, variances, BLUPs, logLik.

    Standard errors are NaN: they do not follow from those of the image. `Answer.faults` says what is
    missing; of a fixed effect too many, one may be.
    """
    way, model = translation(original, image, again), original.model
    assert way is not None
    answer = align(again, fit)
    lost = int(np.isnan(answer.beta).sum())
    spared = image.spare and lost == again.p - model.p
    beta = way.fixed @ (np.nan_to_num(answer.beta) if spared else answer.beta)
    one = np.linalg.lstsq(model.X, np.ones(model.n))[0]
    beta = (beta - image.shift * one) / image.scale if image.shift else beta / image.scale
    psi, blups = [], []
    for term, (j, T) in zip(model.random, way.terms, strict=True):
        psi.append(T @ answer.psi[j] @ T.T / image.scale**2)
        blups.append(_own_levels(term, again.random[j], answer.blups[j], image) @ T.T / image.scale)
    loglik = fit.loglik / image.copies
    nu = model.n - model.p if method == "REML" else model.n
    loglik += nu * math.log(abs(image.scale))
    if method == "REML":
        loglik += np.linalg.slogdet(way.fixed[:, : model.p])[1]
    faults = tuple(f for f in answer.faults if not (spared and f.startswith("missing fixed")))
    unknown = np.full(model.p, np.nan)
    whole = replace(
        answer,
        beta=beta,
        std_error=unknown,
        df=unknown,
        psi=tuple(psi),
        sigma2=answer.sigma2 / image.scale**2,
        blups=tuple(blups),
        faults=faults,
    )
    told = fit.having(loglik=loglik, sigma=fit.sigma / abs(image.scale), n=fit.n // image.copies)
    return whole, told


def _own_levels(term: RandomTerm, other: RandomTerm, values: Matrix, image: Image) -> Matrix:
    """Rows of the image's levels in the original's order; copies are left out."""
    order = [other.factors.index(factor) for factor in term.factors]

    def label(column: str, text: str) -> str:
        return image.labels.get(column, {}).get(text, text)

    own = {
        tuple(label(column, level[at]) for column, at in zip(term.factors, order, strict=True)): row
        for level, row in zip(other.levels, values, strict=True)
    }
    return np.array([own[level] for level in term.levels])


def _change(before: Matrix, after: Matrix) -> Matrix | None:
    """T with after = before T, or None if there is none."""
    T = np.asarray(np.linalg.lstsq(before, after)[0], np.float64)
    T[np.abs(T) < EXACT * np.abs(T).max(initial=0.0)] = 0.0
    off = np.abs(before @ T - after).max(axis=0, initial=0.0)
    return T if (off <= EXACT * np.abs(after).max(axis=0, initial=0.0)).all() else None

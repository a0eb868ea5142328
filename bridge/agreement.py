"""Agreement: the judgements of a run, as tables to read and as one answer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

from bridge.errors import BridgeError, ModelError
from bridge.fit import Method, Profile
from bridge.verdict import Judgement, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from bridge.entry import Entry
    from bridge.explanation import Explanation


@dataclass(frozen=True, eq=False)
class Agreement:
    """Who agrees.

    Attributes
    ----------
    judgements : tuple of Judgement
        One per case, method, engine and profile, in that order.
    notes : tuple of str
        What the reader should know of the data: rows left out, a reference that was replaced.
    required : tuple of str
        Engines whose absence is a failure.
    entries : tuple of Entry
        The models and data that were judged.
    counted : str
        What a judgement is of.
    """

    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    counted: str = "fits"

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per case, method, engine, profile, quantity, group, level and term.

        `difference` and `tolerance` are in units of `scale`; `lre` is the number of correct
        digits, in [0, 15]; `level` is a tuple of labels. Variances and covariances, not sds.
        """
        import pandas as pd

        fields = ("estimate", "reference", "difference", "scale", "tolerance", "ok", "lre")
        keys = ("quantity", "group", "level", "term")
        columns = ["case", "method", "engine", "profile", *keys, *fields]
        records = [
            (j.case, j.fit.method, j.fit.engine, j.fit.profile, *(getattr(row, name) for name in columns[4:]))
            for j in self.judgements
            for row in j.rows
        ]
        return pd.DataFrame.from_records(records, columns=columns)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row per fit. `gap` is on the deviance scale, `seconds` the engine's own wall time.

        `recorded` is the software of a recorded fit, empty for one made here.
        """
        import pandas as pd

        records = [
            {
                "case": j.case,
                "method": j.fit.method,
                "engine": j.fit.engine,
                "profile": j.fit.profile,
                "verdict": str(j.verdict),
                "reason": j.reason,
                "claim": j.claim,
                "silent": j.silent,
                "expected": j.expected,
                "surprise": j.surprise,
                "gap": j.gap,
                "loglik": j.fit.loglik,
                "seconds": j.fit.seconds,
                "versions": ", ".join(f"{name} {v}" for name, v in sorted(j.fit.versions.items())),
                "recorded": j.fit.recorded.software if j.fit.recorded else "",
                "worst": _worst(j),
            }
            for j in self.judgements
        ]
        return pd.DataFrame.from_records(records)

    @property
    def unexpected(self) -> tuple[Judgement, ...]:
        """Those that the cases do not expect, a known difference that is gone among them."""
        return tuple(j for j in self.judgements if not j.expected)

    @property
    def missing(self) -> dict[str, str]:
        """Engines that were not available, and why."""
        gone = Verdict.UNAVAILABLE
        return {j.fit.engine: j.reason for j in self.judgements if j.verdict is gone}

    @property
    def recorded(self) -> dict[str, str]:
        """Engines that were not available but spoken for by recorded fits, and of what software."""
        found: dict[str, dict[str, None]] = {}
        for j in self.judgements:
            if j.fit.recorded is not None:
                found.setdefault(j.fit.engine, {})[j.fit.recorded.software] = None
        return {name: " or ".join(those) for name, those in found.items()}

    @property
    def exit_code(self) -> int:
        """0 as expected; 1 an unexpected disagreement, or a required engine missing, recorded or not."""
        return int(bool(self.unexpected or self._needed))

    @property
    def _needed(self) -> list[str]:
        return [name for name in self.required if name in self.missing or name in self.recorded]

    @property
    def sentence(self) -> str:
        """The answer in one sentence, in the words of the tables."""
        from bridge.report.text import counted, short

        fits = [j for j in self.judgements if not j.verdict.neutral]
        odd = [j for j in fits if not j.expected]
        passes = sum(j.verdict.passes for j in fits)
        counts = Counter(short(j) for j in fits if not j.verdict.passes)
        rest = "".join(f", {counted(n, name)}" for name, n in sorted(counts.items()))
        if not fits:
            start = "Nothing was compared: no engine could fit any of it."
        elif odd:
            start = f"{len(odd)} of {len(fits)} {self.counted} not as expected ({passes} right{rest})."
        else:
            start = f"All {len(fits)} {self.counted} as expected ({passes} right{rest})."
        silent = sum(j.silent for j in fits)
        said = f" {silent} wrong without a warning." if silent else ""
        needed = [f"{e} (a recorded fit is no engine)" if e in self.recorded else e for e in self._needed]
        absent = f" Required but not available: {', '.join(needed)}." if needed else ""
        other = [name for name in self.missing if name not in self.required]
        absent += f" Not available: {', '.join(other)}." if other else ""
        kept = "; ".join(f"{name} (recorded, {those})" for name, those in self.recorded.items())
        said += self._unfitted(fits)
        return start + said + absent + (f" Not fitted here: {kept}." if kept else "")

    @staticmethod
    def _pools(judgement: Judgement) -> bool:
        """Whether a mixed model's engine made the fit; one that is gone is taken for such."""
        from bridge import engines

        try:
            return engines.get(judgement.fit.engine).pooling != "complete"
        except BridgeError:
            return True

    def _unfitted(self, fits: Sequence[Judgement]) -> str:
        """That all that was fitted, if anything, is the baselines' answer, though others were asked."""
        if not fits or any(map(self._pools, fits)):
            return ""
        refused = any(j.verdict is Verdict.UNSUPPORTED and self._pools(j) for j in self.judgements)
        return " No mixed-model engine fitted it." if refused else ""

    def explain(
        self, case: str | None = None, *, coef: str | None = None, engine: str | None = None
    ) -> Explanation:
        """What each cluster weighs, and why lm and the mixed model differ (docs/weights.md).

        Parameters
        ----------
        case : str, optional
            Which, if there are several.
        coef : str, optional
            A fixed effect; by default the first that is constant within clusters, else the first slope.
        engine : str, optional
            Whose variances; by default the exact optimum's.

        Raises
        ------
        BridgeError
            No such case, coefficient or fit; the message names those there are.
        """
        from bridge.explanation import of_entry

        named = {entry.name: entry for entry in self.entries}
        if case is None and len(named) == 1:
            (case,) = named
        if case not in named:
            raise BridgeError(f"case {case!r}: name one of {', '.join(named) or 'none: nothing was judged'}")
        fits = [j.fit for j in self.judgements if j.case == case]
        method: Method = "REML" if any(f.method == "REML" for f in fits) else "ML"
        return of_entry(named[case], method, coef, [engine] if engine else [], fits)

    def __repr__(self) -> str:
        from bridge.report.document import plain

        return plain(self)

    def _repr_html_(self) -> str:
        from bridge.report.document import page

        return page(self)


def _worst(judgement: Judgement) -> str:
    from bridge.report.text import explain

    return explain(judgement.failing[0]) if judgement.failing else ""


def compare(
    data: pd.DataFrame | str | os.PathLike[str],
    formula: str,
    *,
    engines: Sequence[str] | None = None,
    methods: Sequence[Method] = ("REML",),
    profiles: Sequence[Profile] = ("default",),
    missing: str = "omit",
    expect: str = "ok",
    limit: float = 60.0,
    store: str | os.PathLike[str] | None = None,
    weights: str = "",
    offset: str = "",
) -> Agreement:
    """Fit one model with every engine, and judge each against the exact optimum.

    Parameters
    ----------
    data : DataFrame or path
        A path names a csv, tsv, parquet or feather file.
    formula : str
        In lme4's language: ``"y ~ x + (1 | g)"``.
    engines : sequence of str, optional
        All of them if not given; one that is not on this machine gets the verdict UNAVAILABLE.
    methods : sequence of {"REML", "ML"}
    profiles : sequence of {"default", "tight"}
        As a user gets them, or at their most careful.
    missing : {"omit", "pass"}
        Leave rows with missing values out for all engines alike, or let each do as it does.
    expect : {"ok", "singular", "unidentified", "refused"}
        An ill-posed model is refused unless this says that it is meant.
    limit : float
        Seconds per fit.
    store : path, optional
        Folder in which finished fits are kept; by default none is.
    weights : str
        Column of precision weights, as lme4's: the residual variance of row i is sigma2 / w_i.
    offset : str
        Column of a known part of the mean, on the response's scale.

    Returns
    -------
    Agreement

    Raises
    ------
    DataError, FormulaError, ModelError, BridgeError
        The data, the formula or an argument cannot be used; the message says what to do.
    """
    from bridge.catalogue import session
    from bridge.entry import Entry

    _among("methods", methods, get_args(Method))
    _among("profiles", profiles, get_args(Profile))
    _among("missing", [missing], ("omit", "pass"))
    _among("expect", [expect], ("ok", "singular", "unidentified", "refused"))
    if not isinstance(store, str | os.PathLike | None):
        raise BridgeError(f"store {store!r:.80}: is no path; name a folder, or leave it out")
    if not isinstance(weights, str) or not isinstance(offset, str):
        wrong = ("offset", offset) if isinstance(weights, str) else ("weights", weights)
        raise BridgeError(f"{wrong[0]} {wrong[1]!r:.80}: give the name of a column")
    entry = Entry.of_data(
        data,
        formula,
        methods=methods,
        missing=missing,
        expect=expect,
        limit=limit,
        weights=weights,
        offset=offset,
    )
    refuse(entry.name, entry.problems(), expect)
    with session(store) as referee:
        return referee.judge([entry], engines=engines, profiles=profiles)


def refuse(name: str, problems: Iterable[str], expect: str, remedy: str = 'expect="unidentified"') -> None:
    """ModelError if a model is ill-posed and nobody said that it is meant to be."""
    found = list(problems)
    if found and expect not in ("unidentified", "refused"):
        raise ModelError(f"{name}: {'; '.join(found)} ({remedy} runs it all the same)")


def _among(field: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    if not isinstance(values, list | tuple) or not values or any(value not in allowed for value in values):
        raise BridgeError(f"{field} {values!r}: use one or more of {', '.join(allowed)}")

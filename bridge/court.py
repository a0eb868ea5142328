"""Court: what the pytest plug-in judges with, one for a session; and the text of a failure."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.catalogue import Referee
from bridge.engines import get
from bridge.entry import Entry
from bridge.errors import BridgeError, CaseError, StoreError
from bridge.report import text
from bridge.run import LocalWorkers
from bridge.store import Store
from bridge.verdict import Judgement

if TYPE_CHECKING:
    from bridge.case import Case
    from bridge.fit import Method, Profile

MOST = 12
"""Rows that a failure shows."""

Judged = dict[tuple[str, str], Judgement]
"""By engine and profile."""


class Court:
    """A Referee with its workers, and what it has judged.

    Parameters
    ----------
    store : path, optional
        Folder of finished fits; ``LMMBRIDGE_STORE`` if set, else ``.lmmbridge`` in `root`.
    root : Path
    """

    def __init__(self, store: str | None, root: Path) -> None:
        self.store = Store(store or os.environ.get("LMMBRIDGE_STORE") or root / ".lmmbridge")
        self.workers = LocalWorkers()
        self.referee = Referee(self.store, self.workers)
        self._entries: dict[Path, Entry] = {}
        self._judged: dict[tuple[Path, Method], Judged] = {}
        self._unusable: set[tuple[Path, Method]] = set()

    def judge(
        self, case: Case, method: Method, engines: Sequence[str], profiles: Sequence[Profile]
    ) -> Judged:
        """All engines and profiles of a case and method, judged once.

        Under pytest-xdist the first process makes the fits and the others wait, then read them.

        Raises
        ------
        BridgeError
            The case cannot be used; why is said once, and then in short.
        """
        key = case.folder, method
        if key in self._unusable:
            raise CaseError(f"{case.folder}, {method}: cannot be judged; its first test here says why")
        if key not in self._judged:
            try:
                self._judged[key] = self._found(case, method, engines, profiles)
            except BridgeError:
                self._unusable.add(key)
                raise
        return self._judged[key]

    def _found(
        self, case: Case, method: Method, engines: Sequence[str], profiles: Sequence[Profile]
    ) -> Judged:
        if case.folder not in self._entries:
            self._entries[case.folder] = Entry.of_case(case)
        with self._alone(f"{case.folder.resolve()} {method}"):
            agreement = self.referee.judge(
                [self._entries[case.folder]], engines=engines, methods=[method], profiles=profiles
            )
        return {(j.fit.engine, j.fit.profile): j for j in agreement.judgements}

    def close(self) -> None:
        """Stop the workers."""
        self.workers.close()

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        folder = self.store.folder / "lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            place = os.open(folder / hashlib.sha256(what.encode()).hexdigest(), os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(
                f"store {folder}: cannot be written to ({error.strerror}); use --lmm-store"
            ) from None
        try:
            fcntl.flock(place, fcntl.LOCK_EX)
            yield
        finally:
            os.close(place)


def failure(judgement: Judgement, peers: Sequence[Judgement], path: Path | None = None) -> str:
    """Rows that disagree, on which scale, by how much, who is right, and what to do.

    `path` is the case.toml in which a known difference could be recorded; none: it is no excuse.
    """
    silent = ", with no warning" if judgement.silent else ""
    kept = f" ({judgement.fit.recorded})" if judgement.fit.recorded else ""
    lines = [
        f"{judgement.name}: {judgement.verdict}{silent}{kept}",
        f"  {text.clean(judgement.surprise if judgement.known and path else judgement.reason)}",
    ]
    rows = judgement.failing
    lines += [f"  {text.explain(row)}" for row in rows[:MOST]]
    if len(rows) > MOST:
        lines.append(f"  and {len(rows) - MOST} more")
    mine = get(judgement.fit.engine)
    right = [
        p.fit.engine
        for p in peers
        if p.verdict.passes
        and p.fit.profile == judgement.fit.profile
        and p.fit.engine != judgement.fit.engine
        and get(p.fit.engine).pooling == mine.pooling
    ]
    who = f", where {', '.join(right)} arrived" if right else ""
    lines.append(f"  The right numbers belong to the lowest optimum of the exact criterion{who}.")
    if judgement.fit.messages:
        lines.append(f"  {judgement.fit.engine} said: {text.clean(' | '.join(judgement.fit.messages))[:500]}")
    if path is not None and judgement.known is None and not judgement.verdict.passes:
        quiet = "    silent = true\n" if judgement.silent else ""
        lines.append(f"  If this is known and understood, add it to {path}:")
        lines.append(
            f'    [[known_difference]]\n    engine = "{judgement.fit.engine}"\n'
            f'    profile = ["{judgement.fit.profile}"]\n    methods = ["{judgement.fit.method}"]\n'
            f'    verdicts = ["{judgement.verdict}"]\n{quiet}    reason = "..."'
        )
    return "\n".join(lines)

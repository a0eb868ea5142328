"""Catalogue: cases x methods x engines x profiles -> fits -> references -> an Agreement."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from bridge import engines as declared
from bridge import recording
from bridge.agreement import Agreement, refuse
from bridge.entry import Entry
from bridge.errors import BridgeError, UnavailableError
from bridge.fit import Fit, Method, Profile
from bridge.record import Records
from bridge.run import Executor, Instead, LocalWorkers, Progress, Task, execute
from bridge.store import Key, Store

if TYPE_CHECKING:
    from bridge.case import Case
    from bridge.engines.engine import Engine
    from bridge.reference import Reference
    from bridge.verdict import Judgement

Where = tuple[str, Method]
"""Name of an entry, and a method."""

Watch = Callable[[int, int, "Judgement | None"], None]
"""Called with fits done, fits in all, and each Judgement as it is made (None: a fit was finished)."""


@dataclass
class Referee:
    """Runs and judges entries, and remembers references and judgements in its store.

    Attributes
    ----------
    store : Store or None
    executor : Executor
    fresh : bool
        Read nothing that was stored; write all the same.
    """

    store: Store | None
    executor: Executor
    fresh: bool = False

    def __post_init__(self) -> None:
        self.records = Records(self.store.folder if self.store else None, self.fresh)

    def judge(
        self,
        entries: Sequence[Entry],
        *,
        engines: Sequence[str] | None = None,
        methods: Sequence[Method] | None = None,
        profiles: Sequence[Profile] = ("default",),
        required: Sequence[str] = (),
        recorded: bool = True,
        watch: Watch | None = None,
    ) -> Agreement:
        """Fit what the store does not have, and judge all.

        Parameters
        ----------
        engines : sequence of str, optional
            All that are declared if not given.
        methods : sequence of {"REML", "ML"}, optional
            Those of each case if not given, else their overlap.
        recorded : bool
            Whether recorded fits stand in for engines that are not here.

        Raises
        ------
        BridgeError
            An unknown engine; data, a formula or a model that cannot be used.
        """
        chosen = _chosen(engines, required)
        groups = {
            (entry.name, method): (entry, method)
            for entry in entries
            for method in entry.methods
            if methods is None or method in methods
        }
        tasks = self._tasks(groups.values(), chosen, profiles)
        home = {task: where for where, these in tasks.items() for task in these}
        fits: dict[Where, dict[Task, Fit]] = defaultdict(dict)
        pending: dict[Where, Future[tuple[list[Judgement], list[str]]]] = {}

        def finished(done: int, total: int, task: Task, fit: Fit) -> None:
            where = home[task]
            fits[where][task] = fit
            if watch is not None:
                watch(done, total, None)
            if len(fits[where]) == len(tasks[where]):
                pending[where] = bench.submit(decide, where, done, total)

        def decide(where: Where, done: int, total: int) -> tuple[list[Judgement], list[str]]:
            found = self._group(*groups[where], [fits[where][task] for task in tasks[where]])
            if watch is not None:
                for judgement in found[0]:
                    watch(done, total, judgement)
            return found

        def instead(task: Task, why: str) -> Fit:
            return recording.stand_in(task, why, groups[home[task]][0].recorded)

        # Judged in a thread of their own, so that workers never wait for a verdict.
        bench = ThreadPoolExecutor(1)
        try:
            every = [task for these in tasks.values() for task in these]
            self._execute(every, finished, instead if recorded else None)
            judged = [pending[where].result() for where in groups]
        finally:
            bench.shutdown(cancel_futures=True)
        notes = dict.fromkeys(note for _, said in judged for note in said)
        found = tuple(j for judgements, _ in judged for j in judgements)
        return Agreement(found, tuple(notes), tuple(required), tuple(entries))

    def fits(
        self,
        groups: Sequence[tuple[Entry, Method]],
        *,
        engines: Sequence[str] | None = None,
        profiles: Sequence[Profile] = ("default",),
        watch: Watch | None = None,
    ) -> dict[Where, list[Fit]]:
        """Fits of entries, unjudged: by engine, then by profile. What the store has is not made again."""
        tasks = self._tasks(groups, _chosen(engines), profiles)

        def finished(done: int, total: int, task: Task, fit: Fit) -> None:
            if watch is not None:
                watch(done, total, None)

        made = dict(self._execute([task for these in tasks.values() for task in these], finished))
        return {where: [made[task] for task in these] for where, these in tasks.items()}

    def reference(self, entry: Entry, method: Method, pooling: str = "partial") -> Reference:
        """The stored optimum of an entry, else one found now and stored."""
        model = entry.model if pooling == "partial" else entry.unpooled
        given = entry.certificates.get(method) if pooling == "partial" else None
        return self.records.reference(model, method, entry.place(method, pooling), given)

    def _execute(
        self, tasks: Sequence[Task], finished: Progress, instead: Instead | None = None
    ) -> list[tuple[Task, Fit]]:
        store = Unread(self.store.folder) if self.store is not None and self.fresh else self.store
        return execute(tasks, store, self.executor, finished, instead)

    def _tasks(
        self, groups: Iterable[tuple[Entry, Method]], engines: Sequence[str], profiles: Sequence[Profile]
    ) -> dict[Where, list[Task]]:
        """By engine, then by profile."""
        return {
            (entry.name, method): [
                self._task(entry, method, engine, profile) for engine in engines for profile in profiles
            ]
            for entry, method in groups
        }

    def _task(self, entry: Entry, method: Method, engine: str, profile: Profile) -> Task:
        data = entry.path if entry.path is not None else entry.frame
        what = entry.name, data, entry.data_hash, entry.formula
        known = entry.weights, entry.offset
        return Task(*what, method, engine, profile, entry.missing, entry.limit, *known)

    def _group(self, entry: Entry, method: Method, fits: Sequence[Fit]) -> tuple[list[Judgement], list[str]]:
        """All fits of one case and method, judged by the best optimum that any of them leads to."""
        expect = entry.expect.get(method, "ok")
        name = self.records.name(entry.name, [entry.place(method, p) for p in ("partial", "complete")])
        kept = self.records.judgements(name, fits, expect, entry.known)
        if kept is None:
            kept = self._fresh(entry, method, fits, expect)
            self.records.keep(name, fits, expect, entry.known, *kept)
        return kept

    def _fresh(
        self, entry: Entry, method: Method, fits: Sequence[Fit], expect: str
    ) -> tuple[list[Judgement], list[str]]:
        from bridge.identification import problems
        from bridge.judge import judge

        refuse(entry.name, entry.problems(), expect)
        expected = {"partial": expect, "complete": "unidentified" if problems(entry.unpooled) else "ok"}
        references: dict[str, Reference | None] = {"partial": None, "complete": None}
        adapters = [adapter(fit.engine) for fit in fits]
        notes = _notes(entry)
        for pooling in {adapter.pooling for adapter in adapters}:
            if expected[pooling] in ("unidentified", "refused"):
                continue
            mine = [fit for fit, a in zip(fits, adapters, strict=True) if a.pooling == pooling]
            found = self.reference(entry, method, pooling)
            better = self.records.improved(found, mine, entry.data_hash)
            if better.best.value < found.best.value - 1e-7:
                notes.append(f"{entry.name}, {method}: a lower optimum was found from an engine's answer")
            references[pooling] = better
            if better is not found:
                self.records.keep_reference(better, entry.place(method, pooling))
        return [
            judge(
                entry.name,
                entry.model if adapter.pooling == "partial" else entry.unpooled,
                references[adapter.pooling],
                fit,
                adapter,
                expect=expected[adapter.pooling],
                known=entry.known,
            )
            for fit, adapter in zip(fits, adapters, strict=True)
        ], notes


def _chosen(engines: Sequence[str] | None, required: Sequence[str] = ()) -> list[str]:
    """Engines by name, each once; all if none is named."""
    wanted = declared.names() if engines is None else [engines] if isinstance(engines, str) else engines
    if not isinstance(wanted, list | tuple) or not wanted or not all(isinstance(e, str) for e in wanted):
        raise BridgeError(f"engines {engines!r:.80}: name one or more of {', '.join(declared.names())}")
    chosen = list(dict.fromkeys([*wanted, *required]))
    for name in chosen:
        declared.check(name)
    return chosen


def _notes(entry: Entry) -> list[str]:
    if not entry.model.dropped:
        return []
    total, how = (
        len(entry.frame),
        "for all engines alike" if entry.missing == "omit" else "by each engine itself",
    )
    return [f"{entry.name}: {entry.model.dropped} of {total} rows left out {how} (missing values)"]


def adapter(name: str) -> Engine:
    """The engine's adapter; one that cannot even be imported is spoken for by a stand-in."""
    try:
        return declared.get(name)
    except UnavailableError:
        return cast("Engine", _Absent(name))


@dataclass(frozen=True, slots=True)
class _Absent:
    name: str
    language: str = "Python"
    family: str = "any"
    std_error: str = "none"
    df: str = "none"
    pooling: str = "partial"


class Unread(Store):
    """A store to write to only: every fit is made anew."""

    def get(self, key: Key, limit: float = 0.0) -> None:
        """Nothing."""
        return


@contextmanager
def session(
    store: Store | str | os.PathLike[str] | None = None, jobs: int | None = None, fresh: bool = False
) -> Iterator[Referee]:
    """A Referee with workers of its own, stopped at the end; a KeyboardInterrupt says what is kept."""
    with LocalWorkers(jobs) as workers:
        try:
            yield Referee(store if isinstance(store, Store | None) else Store(store), workers, fresh)
        except KeyboardInterrupt:
            lost = "nothing is kept, as there is no store"
            kept = "finished fits are kept, the same again goes on from there"
            raise KeyboardInterrupt(lost if store is None else kept) from None


def referee(
    cases: Sequence[Case],
    *,
    engines: Sequence[str] | None = None,
    methods: Sequence[Method] | None = None,
    profiles: Sequence[Profile] = ("default",),
    store: Store | None = None,
    executor: Executor | None = None,
    progress: Watch | None = None,
) -> Agreement:
    """Run and judge cases; see `Referee.judge`."""
    entries = [Entry.of_case(case) for case in cases]
    if executor is None:
        with session(store) as own:
            return own.judge(entries, engines=engines, methods=methods, profiles=profiles, watch=progress)
    return Referee(store, executor).judge(
        entries, engines=engines, methods=methods, profiles=profiles, watch=progress
    )

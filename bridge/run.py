"""Run: tasks on an executor, finished fits kept in a store."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol, Self

from bridge import engines
from bridge.errors import BridgeError, UnavailableError
from bridge.fit import LONGEST, Fit, Method, Profile
from bridge.process import Worker
from bridge.store import Key, Store, source

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LIMIT = 60.0  # seconds a fit may take, unless its case says otherwise
PATIENCE = 3.0  # seconds after which a second worker for the same engines pays: what R takes to start


@dataclass(frozen=True, slots=True)
class Task:
    """One fit to be made.

    Attributes
    ----------
    case : str
        What error messages call the data: a case id or a file name.
    data : path, pyarrow.Table or pandas.DataFrame
        A Parquet file, or a table at hand.
    data_hash : str
        Content hash of the data. Two tasks with the same hash have the same data.
    formula : str
    missing : {"omit", "pass"}
    method, engine, profile : str
        `engine` is a declared name or ``module:Class``.
    limit : float
        Seconds the fit may take, start-up of the worker and of the engine's software apart.
    weights, offset : str
        Their columns; empty for none.
    """

    case: str
    data: Path | pa.Table | pd.DataFrame = field(compare=False, repr=False)
    data_hash: str
    formula: str
    method: Method
    engine: str
    profile: Profile = "default"
    missing: Literal["omit", "pass"] = "omit"
    limit: float = LIMIT
    weights: str = ""
    offset: str = ""


def limited(seconds: object) -> float:
    """A time limit that can be kept; BridgeError."""
    if not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        raise BridgeError(f"limit {seconds!r}: give a number of seconds above 0 and at most {LONGEST:g}")
    return float(seconds)


class Executor(Protocol):
    """Where fits are made."""

    def run(self, tasks: Iterable[Task]) -> Generator[tuple[Task, Fit], None, None]:
        """Each task with its Fit as it is finished, in any order.

        Closing the generator stops what is still going on. A crash or a hang is a Fit.

        Raises
        ------
        BridgeError
            The data or the formula of a task cannot be used.
        """
        ...


Progress = Callable[[int, int, Task, Fit], None]
"""Called after each fit with: fits done, fits in all, the task, its Fit."""

Instead = Callable[[Task, str], Fit]
"""Called with a task and why its engine is not here; gives the Fit to have instead."""

Group = tuple[str, str]
"""Interpreter and language: R and Python engines never share a process."""


class LocalWorkers:
    """Executor on this machine: worker processes, started by need and reused until closed.

    Parameters
    ----------
    jobs : int, optional
        Fits at a time; the number of CPUs this process may use if not given.

    Notes
    -----
    Not to be shared by threads. `workers` are all that were started, for their times.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = max(1, jobs or len(os.sched_getaffinity(0)))
        self.workers: dict[Group, list[Worker]] = {}

    def run(self, tasks: Iterable[Task]) -> Generator[tuple[Task, Fit], None, None]:
        """See `Executor.run`."""
        queues: dict[Group, deque[Task]] = {}
        for task in tasks:
            queues.setdefault(_group(task.engine), deque()).append(task)
        busy: dict[Worker, Task] = {}
        try:
            while busy or any(queues.values()):
                while len(busy) < self.jobs and (group := self._next(queues, busy)) is not None:
                    worker = self._worker(group, busy)
                    busy[worker] = queues[group].popleft()
                    worker.submit(busy[worker])
                waiting = len(busy) < self.jobs and any(queues.values())
                until = min([worker.deadline for worker in busy] + [monotonic() + PATIENCE] * waiting)
                wait([worker.fileno() for worker in busy], timeout=max(0.0, until - monotonic()))
                for worker in list(busy):
                    if (fit := worker.step()) is not None:
                        yield busy.pop(worker), fit
        finally:
            for worker in busy:
                worker.close()

    def close(self) -> None:
        """Stop all workers."""
        for workers in self.workers.values():
            for worker in workers:
                worker.close()
        self.workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _next(self, queues: dict[Group, deque[Task]], busy: dict[Worker, Task]) -> Group | None:
        """The group to serve next: one with an idle worker, or whose workers cannot keep up."""
        full = [group for group, queue in queues.items() if queue]
        for group in full:
            workers = self.workers.get(group, [])
            if not workers or any(worker not in busy for worker in workers):
                return group
        for group in full:
            if monotonic() - max(worker.ready_at for worker in self.workers[group]) > PATIENCE:
                return group
        return None

    def _worker(self, group: Group, busy: dict[Worker, Task]) -> Worker:
        workers = self.workers.setdefault(group, [])
        idle = next((worker for worker in workers if worker not in busy), None)
        if idle is None:
            idle = Worker(group[0])
            workers.append(idle)
        return idle


def execute(
    tasks: Iterable[Task],
    store: Store | None = None,
    executor: Executor | None = None,
    progress: Progress | None = None,
    instead: Instead | None = None,
) -> list[tuple[Task, Fit]]:
    """Fits of all tasks, in their order; only those are made that the store does not have.

    Parameters
    ----------
    tasks : iterable of Task
    store : Store, optional
        Where finished fits are read from and kept at once; none: nothing is kept.
    executor : Executor, optional
        `LocalWorkers` of its own if not given.
    progress : callable, optional
        See `Progress`.
    instead : callable, optional
        See `Instead`; an ``unavailable`` Fit if not given. It is not kept.

    Raises
    ------
    BridgeError
        Unknown engine; data or formula of a task that cannot be used.
    StoreError
        The store cannot be written to.
    KeyboardInterrupt
        Ctrl-C; workers are stopped and what is finished is in the store.
    """
    if executor is None:
        with LocalWorkers() as workers:
            return execute(tasks, store, workers, progress, instead)
    tasks = list(tasks)
    total = len(set(tasks))
    done: dict[Task, Fit] = {}
    wanted: dict[Key, list[Task]] = {}
    versions = cache(_versions)
    instead = instead or _unavailable

    def finish(task: Task, fit: Fit) -> None:
        done[task] = fit.having(engine=task.engine)
        if progress is not None:
            progress(len(done), total, task, done[task])

    for task in dict.fromkeys(tasks):
        known = versions(task.engine)
        if isinstance(known, str):
            finish(task, instead(task, known))
            continue
        name = key(task, known)
        if store is not None and (fit := store.get(name, task.limit)) is not None:
            finish(task, fit)
        else:
            wanted.setdefault(name, []).append(task)

    names = {max(same, key=lambda task: task.limit): name for name, same in wanted.items()}
    with closing(executor.run(names)) as fits:
        for task, fit in fits:
            known = versions(task.engine)
            if not fit.versions and not isinstance(known, str):
                fit = fit.having(versions=known)
            if store is not None:
                store.put(names[task], fit)
            for same in wanted[names[task]]:
                finish(same, instead(same, fit.reason) if fit.status == "unavailable" else fit)
    return [(task, done[task]) for task in tasks]


def key(task: Task, versions: Mapping[str, str]) -> Key:
    """What the Fit of a task depends on, `versions` being those of its engine's software."""
    return Key(
        data=task.data_hash,
        formula=task.formula,
        missing=task.missing,
        weights=task.weights,
        offset=task.offset,
        method=task.method,
        engine=task.engine,
        profile=task.profile,
        versions=json.dumps(dict(versions), sort_keys=True),
        source=source(engines.get(task.engine)),
    )


def _unavailable(task: Task, why: str) -> Fit:
    return Fit(task.engine, task.method, task.profile, "unavailable", reason=why)


def _versions(name: str) -> dict[str, str] | str:
    try:
        return engines.versions(name)
    except UnavailableError as error:
        return str(error)


def _group(name: str) -> Group:
    return engines.interpreter(name), engines.get(name).language

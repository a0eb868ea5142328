"""Cluster: chunks as tasks of a Dask cluster; their files are written by this side alone."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from threading import local
from typing import Any

from bridge.errors import BridgeError, UnavailableError
from bridge.study.chunk import Chunk
from bridge.study.folder import ingredients
from bridge.study.hand import Made
from bridge.study.spec import Study

AHEAD = 4
"""Chunks of each worker that are with the cluster at a time: none waits, and none piles up."""
RETRIES = 5
"""Deaths of workers that a chunk may meet, and of the scheduler without a chunk finished between."""
KEPT = "finished chunks are kept"


class Cluster:
    """Executor of chunks on Dask.

    Parameters
    ----------
    address : str
        ``tcp://host:8786``, a scheduler's; or ``local:2``, workers started here as processes.
    patience : float
        Seconds to wait for the scheduler and for a first worker.
    """

    def __init__(self, address: str, patience: float = 20.0) -> None:
        if not find_spec("distributed"):
            raise UnavailableError("--dask: needs dask.distributed; pip install 'lmmbridge[dask]'")
        self.address, self.patience = address, patience
        self.client, self._own = self._connected()

    def run(self, study: Study, chunks: Sequence[Chunk]) -> Generator[Made, None, None]:
        """See `bridge.study.hand.Hands.run`; a chunk whose worker died is made by another.

        A scheduler that is started again within `patience` is given what it had not finished.
        """
        left, idle = list(chunks)[::-1], 0
        while left:
            before = len(left)
            yield from self._until_lost(study, left)
            idle = 0 if len(left) < before else idle + 1
            if idle > RETRIES:
                raise BridgeError(f"--dask {self.address}: the scheduler is lost again and again; {KEPT}")
            if left:
                with suppress(Exception):
                    self.client.close(timeout=1)
                try:
                    self.client, self._own = self._connected()
                except UnavailableError as error:
                    raise UnavailableError(f"{error}; {KEPT}") from None

    def _until_lost(self, study: Study, left: list[Chunk]) -> Generator[Made, None, None]:
        """Make chunks from the end of `left`; those of a scheduler that is lost are put back."""
        from distributed import as_completed

        waiting: Any = as_completed

        text, ours = study.to_json(), ingredients(study)
        most = AHEAD * max(1, sum(self.client.nthreads().values()))
        pending = waiting(raise_errors=False)
        going: dict[Any, Chunk] = {}

        def give() -> None:
            while left and len(going) < most:
                chunk = left.pop()
                # pure=False: a name of its own, so that another study's result is never taken for it.
                future = self.client.submit(
                    made, text, chunk.place, chunk.start, chunk.stop, pure=False, retries=RETRIES
                )
                going[future] = chunk
                pending.add(future)

        give()
        try:
            for future in pending:
                if future.status in ("cancelled", "lost"):
                    left.extend(going.values())
                    return
                chunk = going.pop(future)
                if future.status != "finished":
                    raise BridgeError(f"--dask {self.address}: {chunk}: {future.exception()}; {KEPT}")
                theirs, body = future.result()
                if theirs != ours:
                    raise BridgeError(f"--dask {self.address}: {_difference(theirs, ours)}; {KEPT}")
                future.release()
                give()
                yield chunk, body
        finally:
            with suppress(Exception):
                self.client.cancel(list(going))

    def close(self) -> None:
        """Leave the cluster; workers started here end."""
        with suppress(Exception):
            self.client.close(timeout=5)
        if self._own is not None:
            with suppress(Exception):
                self._own.close(timeout=10)

    def _connected(self) -> tuple[Any, Any]:
        import logging

        import distributed

        dask: Any = distributed  # untyped

        for name in ("distributed", "tornado", *logging.root.manager.loggerDict):
            if name.partition(".")[0] in ("distributed", "tornado"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        kind, _, number = self.address.partition(":")
        own = None
        try:
            if kind == "local":
                if not number.isdigit() or not int(number):
                    raise BridgeError(f"--dask {self.address}: write local:2, with a number of workers")
                own = dask.LocalCluster(
                    n_workers=int(number), threads_per_worker=1, processes=True, dashboard_address=None
                )
                return dask.Client(own, timeout=self.patience), own
            client = dask.Client(self.address, timeout=self.patience)
            client.wait_for_workers(1, timeout=self.patience)
            return client, None
        except (OSError, TimeoutError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(
                f"--dask {self.address}: no scheduler with a worker answered within {self.patience:g} s "
                f"({why}); start one with dask scheduler and dask worker, or use --dask local:2"
            ) from None


@cache
def _cells(text: str) -> Any:
    study = Study.from_json(text)
    return study, list(study.cells()), ingredients(study)


_kept = local()  # a thread's own: `LocalWorkers` are not shared, and end with the thread that started them


def made(text: str, place: int, start: int, stop: int) -> tuple[dict[str, Any], bytes]:
    """A chunk, on a worker, and what its numbers depend on there.

    Engines run in processes of their own, which are kept; R never in Dask's.
    """
    from bridge.run import LocalWorkers

    study, cells, used = _cells(text)
    if not hasattr(_kept, "workers"):
        _kept.workers = LocalWorkers(1)
    return used, Chunk(place, start, stop).made(study, cells[place], _kept.workers)


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first thing that a worker has otherwise than this machine."""
    name = next(key for key in ours if theirs.get(key) != ours[key])
    return (
        f"a worker has other software than this machine, {name}: {_spell(theirs.get(name))} for "
        f"{_spell(ours[name])}; install the same on both"
    )


def _spell(used: Any) -> str:
    """Versions, and the start of an adapter's hash."""
    if isinstance(used, str):
        return used
    versions, source = used
    return ", ".join([*(f"{name} {v}" for name, v in versions.items()), f"adapter {source[:8]}"])

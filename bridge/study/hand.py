"""Hand: a process that makes chunks, started as ``python -m bridge.study.hand FD``, like `bridge.worker`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.pipe import Pipe
from bridge.process import SETTINGS
from bridge.study.chunk import Chunk
from bridge.study.spec import Study

Made = tuple[Chunk, bytes]


class Hands:
    """Executor of chunks: as many processes on this machine as `jobs`.

    A hand that dies gives its chunk to the next; one that kills three in a row ends the study.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs

    def run(self, study: Study, chunks: Iterable[Chunk]) -> Generator[Made, None, None]:
        """Each chunk with its Parquet, as it is finished."""
        left = list(chunks)[::-1]
        busy: dict[Pipe, tuple[Any, Chunk]] = {}
        deaths: dict[Chunk, int] = {}
        try:
            for _ in range(min(self.jobs, len(left))):
                pipe, child = _start(study)
                busy[pipe] = child, _give(pipe, left.pop())
            while busy:
                ready = wait([pipe.fileno() for pipe in busy])
                for pipe in [pipe for pipe in busy if pipe.fileno() in ready]:
                    child, chunk = busy[pipe]
                    try:
                        pipe.feed()
                        message = pipe.next()
                    except (EOFError, OSError):
                        del busy[pipe]
                        _stop(pipe, child)
                        deaths[chunk] = deaths.get(chunk, 0) + 1
                        if deaths[chunk] > 2:
                            raise BridgeError(
                                f"{chunk}: three processes died of it; finished chunks are kept"
                            ) from None
                        left.append(chunk)
                        pipe, child = _start(study)
                        busy[pipe] = child, _give(pipe, left.pop())
                        continue
                    if message is None:
                        continue
                    head, body = message
                    if "error" in head:
                        raise BridgeError(head["error"])
                    if left:
                        busy[pipe] = child, _give(pipe, left.pop())
                    else:
                        del busy[pipe]
                        _stop(pipe, child)
                    yield chunk, body
        finally:
            for pipe, (child, _) in busy.items():
                _stop(pipe, child)


def _start(study: Study) -> tuple[Pipe, Any]:
    import bridge

    ours, theirs = socket.socketpair()
    home = str(Path(bridge.__file__).parent.parent)
    path = os.pathsep.join([*(place or os.getcwd() for place in sys.path), home])
    with theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "bridge.study.hand", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **SETTINGS, "PYTHONPATH": path},
        )
    pipe = Pipe(ours)
    pipe.send({"study": study.to_json()})
    return pipe, child


def _give(pipe: Pipe, chunk: Chunk) -> Chunk:
    with suppress(OSError):  # it has died: reading says so
        pipe.send({"chunk": astuple(chunk)})
    return chunk


def _stop(pipe: Pipe, child: Any) -> None:
    pipe.close()
    with suppress(ProcessLookupError):
        child.kill()
    child.wait()


class Here:
    """Executor of chunks in this process, one after another."""

    def run(self, study: Study, chunks: Sequence[Chunk]) -> Generator[Made, None, None]:
        """See `Hands.run`."""
        from bridge.run import LocalWorkers

        cells = list(study.cells())
        with LocalWorkers(1) as workers:
            for chunk in chunks:
                yield chunk, chunk.made(study, cells[chunk.place], workers)


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument, until it is closed."""
    from bridge.run import LocalWorkers
    from bridge.worker import _die_with_parent

    _die_with_parent()
    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    study = Study.from_json(pipe.receive()[0]["study"])
    cells = list(study.cells())
    with suppress(EOFError, ConnectionError, KeyboardInterrupt), LocalWorkers(1) as workers:
        while True:
            chunk = Chunk(*pipe.receive()[0]["chunk"])
            try:
                pipe.send({}, chunk.made(study, cells[chunk.place], workers))
            except BridgeError as error:
                pipe.send({"error": str(error)})


if __name__ == "__main__":
    main()

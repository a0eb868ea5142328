"""Process: the parent's side of a worker. Starts it, asks it, outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

import bridge
from bridge import errors, interpreter
from bridge.engines import target, variable
from bridge.errors import BridgeError, DataError, UnavailableError
from bridge.fit import Fit, Status, from_arrow
from bridge.pipe import Pipe
from bridge.worker import tail

if TYPE_CHECKING:
    from bridge.run import Task

START = 120.0  # seconds that a worker and its engine's software may take to start
GRACE = 1.0  # seconds between a closed pipe and the death that it announces

# Two BLAS threads made a crossed fit six times slower; ABI is how rpy2 is installed here.
SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "RPY2_CFFI_MODE": "ABI",
    "PYTHONSAFEPATH": "1",
}


def _environment() -> dict[str, str]:
    """The environment of this process, but with the loader's path that it was started with.

    R, once started in a process (a notebook with rpy2), puts the system's libraries before Python's
    own there: another Python started so may not load its own modules.
    """
    found = {**os.environ, **SETTINGS}
    if "R_SESSION_TMPDIR" in found and found.pop("LD_LIBRARY_PATH", None) is not None:
        with suppress(OSError):
            first = Path("/proc/self/environ").read_bytes().split(b"\0")
            given = [entry for entry in first if entry.startswith(b"LD_LIBRARY_PATH=")]
            found |= dict(os.fsdecode(entry).split("=", 1) for entry in given)
    return found


class Process:
    """``python -m bridge.worker`` with a pipe to it and a file that takes its stdout and stderr.

    On Linux it is killed when the thread that started it ends: a killed run leaves none behind.
    """

    def __init__(self, python: str) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(START)
        self.pipe = Pipe(ours)
        self._files = ExitStack()
        self._output, name = tempfile.mkstemp()
        self._files.callback(os.close, self._output)
        os.unlink(name)
        with theirs:
            self._child = subprocess.Popen(
                [python, "-m", "bridge.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                env={**_environment(), "PYTHONPATH": os.pathsep.join(self._path(python))},
                start_new_session=True,
            )

    def _path(self, python: str) -> list[str]:
        home = Path(bridge.__file__).parent
        if python == sys.executable:
            return [*(place or os.getcwd() for place in sys.path), str(home.parent)]
        # Another Python must not see this one's packages, only `bridge`.
        folder = self._files.enter_context(tempfile.TemporaryDirectory())
        Path(folder, "bridge").symlink_to(home, target_is_directory=True)
        return [folder]

    def dead(self) -> bool:
        """Whether it has ended; it is not reaped, so that its number cannot be another's."""
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def end(self, grace: float = 0.0) -> tuple[str, str]:
        """Kill what is left of it and its children; say how it ended, and what it last printed."""
        until = monotonic() + grace
        while not (dead := self.dead()) and monotonic() < until:
            sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.wait()
        printed = tail(self._output)
        self.pipe.close()
        self._files.close()
        if not dead:
            return "stopped", printed
        if code >= 0:
            return f"ended with exit code {code}", printed
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}", printed


class Worker:
    """One worker, started when first asked and again after each death.

    Parameters
    ----------
    python : str, optional
        Interpreter; this one if not given. Another one needs what the engine and `bridge.model`
        import, and finds `bridge` itself here.

    Attributes
    ----------
    start_up, seconds, engine_seconds : float
        Wall time so far: spent on starting; between the starts and the ends of fits that were
        answered; within the engines' own calls.
    ready_at : float
        `time.monotonic` when its latest process began its first fit; inf until then.
    deadline : float
        `time.monotonic` until which the present task may go on.
    """

    def __init__(self, python: str | None = None) -> None:
        self.python = python or sys.executable
        self.start_up = self.seconds = self.engine_seconds = 0.0
        self.ready_at = self.deadline = self._asked_at = float("inf")
        self._task: Task | None = None
        self._started = False
        self._process: Process | None = None

    def fit(self, task: Task) -> Fit:
        """Run one task and wait for its Fit, whatever becomes of the worker.

        Raises
        ------
        BridgeError
            The data or the formula cannot be used.
        """
        self.submit(task)
        while (fit := self.step()) is None:
            wait([self.fileno()], timeout=max(0.0, self.deadline - monotonic()))
        return fit

    def versions(self, engine: str) -> dict[str, str]:
        """Versions of an engine in this worker's interpreter.

        Raises
        ------
        UnavailableError
            It is not there, or the interpreter cannot start.
        """
        if self.python != sys.executable and (fault := interpreter.fault(self.python, _environment())):
            raise UnavailableError(f"engine {engine}: {variable(engine)}: {self.python} {fault}")
        try:
            process = self._begin()
            process.pipe.send({"do": "versions", "target": target(engine)})
            while (message := process.pipe.next()) is None:
                if not wait([self.fileno()], timeout=max(0.0, self.deadline - monotonic())):
                    raise TimeoutError(f"did not start within {START:g} s")
                process.pipe.feed()
            return dict(_raised(message[0])["versions"])
        except (EOFError, OSError, ValueError) as error:
            how, printed = self._end()
            reason = "; ".join(part for part in (str(error), how, _last(printed)) if part)
            raise UnavailableError(f"engine {engine}: interpreter {self.python}: {reason}") from error

    def submit(self, task: Task) -> None:
        """Give it a task; only when it has none.

        Raises
        ------
        UnavailableError
            The interpreter cannot be started.
        """
        try:
            process = self._begin()
        except OSError as error:
            raise UnavailableError(f"engine {task.engine}: interpreter {self.python}: {error}") from error
        self._task = task
        request = {
            "do": "fit",
            "target": target(task.engine),
            "path": str(task.data.absolute()) if isinstance(task.data, Path) else None,
            **{key: getattr(task, key) for key in _FIELDS},
        }
        with suppress(OSError):  # it has died at once: `step` says how
            process.pipe.send(request)

    def step(self) -> Fit | None:
        """Read what has come; the Fit once there is one, whatever became of the worker.

        Raises
        ------
        BridgeError
            The data or the formula cannot be used.
        """
        assert self._task is not None
        assert self._process is not None
        pipe = self._process.pipe
        try:
            if wait([pipe.fileno()], timeout=0):
                pipe.feed()
            elif monotonic() >= self.deadline:
                return self._late(self._task, self._process)
            while (message := pipe.next()) is not None:
                if (fit := self._take(self._task, pipe, *message)) is not None:
                    return fit
        except (EOFError, ConnectionError):
            return self._lost("crashed", "")
        except (OSError, ValueError, KeyError, TypeError) as error:
            return self._lost("crashed", f"{type(error).__name__}: {error}")
        return None

    def fileno(self) -> int:
        """To wait for, while it has a task."""
        assert self._process is not None
        return self._process.pipe.fileno()

    def close(self) -> None:
        """Stop it, in the middle of a fit if need be."""
        self._end()
        self._idle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self) -> Process:
        self._asked_at, self._started = monotonic(), False
        self.deadline = self._asked_at + START
        if self._process is None or self._process.dead():
            self._end()
            self.ready_at = float("inf")
            self._process = Process(self.python)
        return self._process

    def _take(self, task: Task, pipe: Pipe, head: dict[str, Any], body: bytes) -> Fit | None:
        import pyarrow as pa

        if head["state"] == "started":
            now = monotonic()
            self.start_up += now - self._asked_at
            self.ready_at, self._started = min(self.ready_at, now), True
            self.deadline = now + task.limit
            return None
        if head["state"] == "wants data":
            pipe.send({}, _stream(task))
            return None
        if head["state"] == "error":
            self._idle()
        fit = from_arrow(pa.ipc.open_stream(_raised(head) and body).read_all())[0]
        self.seconds += head["seconds"]
        self.engine_seconds += max(fit.seconds, 0.0) if fit.seconds == fit.seconds else 0.0
        self._idle()
        return fit

    def _late(self, task: Task, process: Process) -> Fit:
        if process.dead():
            return self._lost("crashed", "")
        if not self._started:
            return self._lost("crashed", f"did not start within {START:g} s")
        return self._lost("timed_out", f"no answer within {task.limit:g} s")

    def _lost(self, status: Status, reason: str) -> Fit:
        task = self._task
        assert task is not None
        how, printed = self._end(0.0 if reason else GRACE)
        if not reason:
            reason = "; ".join(part for part in (how, _last(printed)) if part)
        self._idle()
        messages = (printed,) if printed else ()
        return Fit(
            task.engine, task.method, task.profile, status, messages=messages, reason=reason, limit=task.limit
        )

    def _end(self, grace: float = 0.0) -> tuple[str, str]:
        process, self._process = self._process, None
        return ("", "") if process is None else process.end(grace)

    def _idle(self) -> None:
        self._task, self.deadline = None, float("inf")


_FIELDS = (
    *("case", "data_hash", "formula", "missing", "weights", "offset"),
    *("method", "engine", "profile", "limit"),
)


def _raised(head: dict[str, Any]) -> dict[str, Any]:
    if head["state"] != "error":
        return head
    kind = getattr(errors, head["class"], BridgeError)
    raise kind(head["text"])


def _last(printed: str, lines: int = 3) -> str:
    return " | ".join(printed.splitlines()[-lines:])[-500:]


def _stream(task: Task) -> bytes:
    import pyarrow as pa

    table = task.data
    try:
        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"{task.case}: data cannot be passed on: {error}") from error
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())

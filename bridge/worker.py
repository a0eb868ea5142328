"""Worker: one process that fits, started as ``python -m bridge.worker FD`` by `bridge.process`.

It is started, not forked or pickled into, so that any interpreter can be one and an unguarded
script, a notebook or stdin can start one. Its stdout and stderr are a file that the parent
gave it; whatever compiled code prints during a fit is carried in the Fit's messages.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from importlib import import_module
from numbers import Integral, Real
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from bridge.errors import BridgeError, DataError, UnavailableError
from bridge.fit import Effect, Fit, Row, Status
from bridge.pipe import Message, Pipe

if TYPE_CHECKING:
    import pandas as pd

    from bridge.engines.engine import Engine
    from bridge.model import Model

T = TypeVar("T")

OUTPUT = 4000  # characters of captured output and of an engine's error that are kept


class Shelf(OrderedDict[Hashable, Any]):
    """The last few things made, by what they were made from."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def keep(self, key: Hashable, value: T) -> T:
        """Put a value in front, and let the oldest go."""
        self[key] = value
        self.move_to_end(key)
        while len(self) > self.size:
            self.popitem(last=False)
        return value


class Desk:
    """What a worker has at hand: the pipe, and the last data and models."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.frames = Shelf(2)
        self.models = Shelf(4)
        self.started: set[str] = set()
        self.printed = os.dup(1)  # the file behind stdout and stderr, in case that an engine closes them

    def serve(self, head: dict[str, Any]) -> None:
        """Answer one request."""
        try:
            answer, body = self.versions(head) if head["do"] == "versions" else self.fit(head)
        except BridgeError as error:
            answer, body = {"state": "error", "class": type(error).__name__, "text": str(error)}, b""
        self.pipe.send(answer, body)

    def versions(self, head: dict[str, Any]) -> Message:
        """The engine's versions in this interpreter."""
        from bridge.engines import stated

        return {"state": "done", "versions": stated(_engine(head["target"]))}, b""

    def fit(self, head: dict[str, Any]) -> Message:
        """One fit. The clock starts once the engine is there: its start-up is not the fit's time."""
        common = {key: head[key] for key in ("engine", "method", "profile", "limit")}
        try:
            engine = _engine(head["target"])
            self.start(engine, head["target"])
        except UnavailableError as error:
            return _message(Fit(**common, status="unavailable", reason=str(error)), 0.0)
        except (Exception, SystemExit) as error:
            reason = f"engine {head['engine']}: its start() failed: {_text(error)}"
            return _message(Fit(**common, status="unavailable", reason=reason), 0.0)
        self.pipe.send({"state": "started"})
        begin = perf_counter()
        model = self.model(head)
        forget_output(self.printed)
        fit = answer(engine, own(model), head)
        printed = output(self.printed)
        fit = fit.having(**common, messages=(*map(str, fit.messages), *([printed] if printed else [])))
        return _message(fit, begin)

    def start(self, engine: Engine, target: str) -> None:
        """Import what every fit needs and, where the engine has a `start`, start its software."""
        if target not in self.started:
            for module in ("pandas", "pyarrow.parquet", "bridge.data", "bridge.model"):
                import_module(module)
            getattr(engine, "start", lambda: None)()
            self.started.add(target)

    def model(self, head: dict[str, Any]) -> Model:
        """The Model of a request, made once for its methods, engines and profiles."""
        from bridge.model import build

        known = {"weights": head["weights"], "offset": head["offset"]}
        key = (head["data_hash"], head["formula"], head["missing"], *known.values())
        if key in self.models:
            return cast("Model", self.models.keep(key, self.models[key]))
        try:
            frame = self.frame(head)
            model = build(head["formula"], frame, missing=head["missing"], name=head["case"], **known)
        except BridgeError:
            raise
        except Exception as error:
            raise BridgeError(
                f"{head['case']}: no model could be built of {head['formula']!r}: {_text(error)}"
            ) from error
        return self.models.keep(key, model)

    def frame(self, head: dict[str, Any]) -> pd.DataFrame:
        """The data of a request: at hand, else from its file, else sent by the parent."""
        from bridge import data

        if head["data_hash"] in self.frames:
            return cast("pd.DataFrame", self.frames[head["data_hash"]])
        if head["path"]:
            frame = data.normalise(data.read(head["path"]), head["case"])
            if data.content_hash(frame) != head["data_hash"]:  # else its fits would be kept as the old data's
                raise DataError(f"{head['path']}: the file changed while the run went on; run it again")
        else:
            import pyarrow as pa

            self.pipe.send({"state": "wants data"})
            frame = pa.ipc.open_stream(self.pipe.receive()[1]).read_all().to_pandas()
            frame = data.normalise(frame, head["case"])
        return self.frames.keep(head["data_hash"], frame)


def own(model: Model) -> Model:
    """The same for one fit alone: what its engine changes, the next must not see.

    The arrays are read-only; they are copies all the same, since compiled code need not ask.
    """

    def copy(array: Any) -> Any:
        if array is None:
            return None
        fresh = array.copy(order="K")
        fresh.setflags(write=False)
        return fresh

    return replace(
        model,
        y=copy(model.y),
        X=copy(model.X),
        weights=copy(model.weights),
        offset=copy(model.offset),
        random=tuple(replace(term, Z=copy(term.Z), index=copy(term.index)) for term in model.random),
        data=model.data.copy(),
        spelling=deepcopy(model.spelling),
    )


def answer(engine: Engine, model: Model, head: dict[str, Any]) -> Fit:
    """Ask the engine. Whatever it does, short of taking the process down, becomes a Fit."""
    from bridge.engines.engine import unsupported

    method, profile = head["method"], head["profile"]
    blank = Fit(engine.name, method, profile)
    begin = perf_counter()
    try:
        reason: object = unsupported(engine, model, method)
        if not isinstance(reason, str | None):
            reason = f"its supports() gave {reason!r:.80}; make it None, or a sentence that says why not"
            return blank.having(status="crashed", reason=reason)
        if reason:
            return blank.having(status="unsupported", reason=reason)
        begin = perf_counter()
        fit = engine.fit(model, method, profile)
    except UnavailableError as error:
        return blank.having(status="unavailable", reason=str(error))
    except (Exception, SystemExit) as error:
        return blank.having(status="refused", reason=_text(error), seconds=perf_counter() - begin)
    seconds = perf_counter() - begin
    if fault := garbage(fit):
        return blank.having(status="crashed", reason=f"its answer is no Fit: {fault}", seconds=seconds)
    return fit if fit.seconds >= 0 else fit.having(seconds=seconds)


def garbage(fit: object) -> str | None:
    """Why what an engine returned is not a Fit, None if it is one. NaN and Inf are the audit's."""
    if not isinstance(fit, Fit):
        return f"a {type(fit).__name__}"
    for name in ("rows", "messages"):
        if not isinstance(getattr(fit, name), tuple | list):
            return f"{name} is {getattr(fit, name)!r:.80}; make it a tuple"
    for name, kind in (("loglik", Real), ("sigma", Real), ("seconds", Real), ("n", Integral)):
        if not isinstance(getattr(fit, name), kind):
            return f"{name} is {getattr(fit, name)!r:.80}"
    if fit.status not in get_args(Status):
        return f"status is {fit.status!r:.80}; make it one of {', '.join(get_args(Status))}"
    for row in fit.rows:
        if not isinstance(row, Row):
            return f"a row is {row!r:.80}"
        if not isinstance(row.estimate, Real) or not isinstance(row.std_error, Real | None):
            return f"{row.term}: estimate {row.estimate!r:.80}, std_error {row.std_error!r:.80}"
        if row.effect not in get_args(Effect):
            return f"{row.term}: effect is {row.effect!r:.80}; make it one of {', '.join(get_args(Effect))}"
        if not isinstance(row.level, tuple | None):
            return f"{row.term}: level is {row.level!r:.80}; make it a tuple of labels, as Model has it"
    return None


def _engine(target: str) -> Engine:
    from bridge.engines import get

    return get(target)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:OUTPUT]


def _message(fit: Fit, begin: float) -> Message:
    import pyarrow as pa

    from bridge.fit import to_arrow

    try:
        table = to_arrow([fit])
    except (pa.ArrowException, TypeError, ValueError) as error:
        fit = fit.having(rows=(), messages=(), versions={}, n=0, converged=None)
        table = to_arrow([fit.having(status="crashed", reason=f"its answer is no Fit: {_text(error)}")])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    seconds = perf_counter() - begin if begin else 0.0
    return {"state": "done", "seconds": seconds}, sink.getvalue().to_pybytes()


def forget_output(printed: int) -> None:
    """Empty the file behind stdout and stderr, and open them again if the last engine closed them."""
    _flush()
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(printed, number)
        if getattr(sys, name) is None or getattr(sys, name).closed:
            setattr(sys, name, os.fdopen(number, "w", closefd=False, encoding="utf-8"))
    os.ftruncate(printed, 0)
    os.lseek(printed, 0, os.SEEK_SET)


def output(printed: int) -> str:
    """What was printed since `forget_output`, its last `OUTPUT` characters."""
    _flush()
    return tail(printed)


def tail(file: int) -> str:
    """The last `OUTPUT` bytes of an open file, as text."""
    size = os.fstat(file).st_size
    return os.pread(file, OUTPUT, max(0, size - OUTPUT)).decode(errors="replace").strip()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # an engine may have closed it
                stream.flush()
    ctypes.CDLL(None).fflush(None)


def _die_with_parent() -> None:
    """Be killed when the thread that started this worker ends, even in the middle of a hang."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument, until it is closed."""
    _die_with_parent()
    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    desk = Desk(pipe)
    with suppress(EOFError, ConnectionError):
        while True:
            desk.serve(pipe.receive()[0])


if __name__ == "__main__":
    main()

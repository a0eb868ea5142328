"""Engines that misbehave, one way each. Named in tests as ``fakes:Returns``; `count` keeps a tally."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from bridge.errors import UnavailableError
from bridge.fit import Fit, Method, Profile, Row
from bridge.model import Model


def count() -> None:
    """Add a line to the file named by FAKES_COUNT: one for each call of an engine, in any process."""
    if name := os.environ.get("FAKES_COUNT"):
        with open(name, "a") as file:
            file.write(f"{os.getpid()}\n")


class Returns:
    """Returns the mean of y; what a good engine does."""

    name = "fake"
    language: Literal["Python", "R"] = "Python"
    family = "fake"
    std_error: Literal["phi", "joint", "none"] = "none"
    df: Literal["none", "satterthwaite", "kenward-roger", "containment"] = "none"
    pooling: Literal["partial", "complete"] = "complete"

    def version(self) -> Mapping[str, str]:
        """One that a test can change."""
        return {"fake": os.environ.get("FAKES_VERSION", "1")}

    def supports(self, model: Model, method: Method) -> str | None:
        """All."""
        return None

    def fit(self, model: Model, method: Method, profile: Profile) -> Fit:
        """Count, wait FAKES_SECONDS, answer."""
        count()
        begin = time.perf_counter()
        time.sleep(float(os.environ.get("FAKES_SECONDS", "0")))
        return self.answer(model, method, profile).having(seconds=time.perf_counter() - begin)

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """What comes back."""
        row = Row("fixed", "(Intercept)", float(np.mean(model.y)), std_error=1.0)
        blup = Row("ran_vals", "(Intercept)", 0.5, "g", ("é:/ 1",))
        return Fit(
            "fake", method, profile, rows=(row, blup), loglik=-1.5, sigma=2.0, n=model.n, converged=True
        )


class Second(Returns):
    """Another good one, in the group of R."""

    name = "second"
    language = "R"


class Tells(Returns):
    """Tells in its messages what it was given."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Levels, rows, threads, path."""
        levels = [level for (level,) in model.random[0].levels]
        told = (repr(levels), str(model.n), os.environ["OPENBLAS_NUM_THREADS"], os.environ["PYTHONPATH"])
        return super().answer(model, method, profile).having(messages=told)


class Shows(Returns):
    """Tells in its messages every number and name that it was given."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Arrays, frame and names."""
        (term,) = model.random
        arrays = [a.tolist() for a in (model.y, model.X, term.Z, term.index)]
        told = arrays, model.data.to_dict("list"), model.spelling.fixed_names
        return super().answer(model, method, profile).having(messages=(repr(told),))


class SlowStart(Returns):
    """Takes its time to start, not to fit."""

    started = False

    def start(self) -> None:
        """Longer than the limit that the test gives."""
        time.sleep(1.0)
        self.started = True

    def supports(self, model: Model, method: Method) -> str | None:
        """Nothing before it is started."""
        return None if self.started else "not started"


class Unsupported(Returns):
    """Cannot express anything."""

    def supports(self, model: Model, method: Method) -> str | None:
        """Nothing."""
        return f"no {method} here"


class Missing(Returns):
    """Not on this machine."""

    def version(self) -> Mapping[str, str]:
        """None."""
        raise UnavailableError("fake: not installed; install it")


class Raises(Returns):
    """Raises."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Never."""
        raise ZeroDivisionError("singular design")


class Exits(Returns):
    """Calls sys.exit."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Never."""
        sys.exit(4)


class Overwrites(Returns):
    """Changes what it was given: FAKES_OVERWRITE names the array, or ``data``."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """As the good one, if it may."""
        what = os.environ["FAKES_OVERWRITE"]
        if what == "data":
            model.data["v0"] = 0.0
            model.data.drop(columns="v1", inplace=True)
            model.spelling.fixed_names.clear()
        elif what == "memory":
            for array in (model.y, model.X, model.random[0].Z, model.random[0].index):
                ctypes.memset(array.ctypes.data, 0, array.nbytes)
        elif what == "values":
            model.data["v0"].to_numpy().setflags(write=True)
            model.data["v0"].to_numpy()[:] = 0
        elif what == "y":
            model.y[:] = 0
        elif what == "X":
            model.X[:] = 0
        elif what == "Z":
            model.random[0].Z[:] = 0
        else:
            model.random[0].index[:] = 0
        return super().answer(model, method, profile)


class Segfaults(Returns):
    """Reads address 0, after a word on stderr."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Never."""
        os.write(2, b"about to go wrong\n")
        return ctypes.string_at(0)


class Hangs(Returns):
    """Never answers, in compiled code that holds the interpreter."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Never."""
        return ctypes.PyDLL(None).sleep(600)


class Leaves(Returns):
    """Ends the process."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Never."""
        os._exit(3)


class Prints(Returns):
    """Prints from C, buffered, on fd 1, and from Python on both; returns nonetheless."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """As the good one."""
        ctypes.CDLL(None).printf(b"from C\n")
        print("from Python")
        print("to stderr", file=sys.stderr)
        return super().answer(model, method, profile).having(messages=("its own",))


class Closes(Returns):
    """Closes its stdout and stderr, as Python has them or, by FAKES_CLOSE, as the system does."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """As the good one."""
        if os.environ["FAKES_CLOSE"] == "files":
            os.closerange(1, 3)
        else:
            sys.stdout.close()
            sys.stderr.close()
        return super().answer(model, method, profile)


class Answers(Returns):
    """Its supports() answers yes or no."""

    def supports(self, model: Model, method: Method) -> Any:
        """FAKES_SUPPORTS."""
        return os.environ["FAKES_SUPPORTS"] == "True"


class StartFails(Returns):
    """Its software does not start."""

    def start(self) -> None:
        """Never."""
        raise OSError("no licence file")


class Chatters(Returns):
    """Prints far too much."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """As the good one."""
        print("x" * 1_000_000 + "the end")
        return super().answer(model, method, profile)


class NotNumbers(Returns):
    """Returns NaN and Inf."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Not numbers."""
        rows = (Row("fixed", "(Intercept)", float("nan"), std_error=float("inf")),)
        return super().answer(model, method, profile).having(rows=rows, loglik=float("inf"))


class Garbage(Returns):
    """Returns what is no Fit; FAKES_GARBAGE says what."""

    def fit(self, model: Model, method: Method, profile: Profile) -> Any:
        """Garbage."""
        fit = super().answer(model, method, profile)
        return {
            "none": None,
            "text": "converged",
            "estimate": fit.having(rows=(Row("fixed", "x", "1.5"),)),
            "hole": fit.having(rows=(Row("fixed", "x", None),)),
            "effect": fit.having(rows=(Row("random", "x", 1.5),)),
            "rows": fit.having(rows=((1, 2),)),
            "no rows": fit.having(rows=None),
            "messages": fit.having(messages="one warning"),
            "label": fit.having(rows=(Row("ran_vals", "x", 1.5, "g", "1"),)),
            "loglik": fit.having(loglik="-3"),
            "status": fit.having(status="fine"),
            "n": fit.having(n=2.5),
            "versions": fit.having(versions={"fake": object()}),
            "level": fit.having(rows=(Row("ran_vals", "x", 1.5, "g", (object(),)),)),
        }[os.environ["FAKES_GARBAGE"]]


class Scribbles(Returns):
    """Writes on every open socket: garbage on the worker's private pipe."""

    def answer(self, model: Model, method: Method, profile: Profile) -> Any:
        """Never heard."""
        for name in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    os.write(int(name), b"<html>not a message at all</html>")
            except OSError:
                continue
        return super().answer(model, method, profile)

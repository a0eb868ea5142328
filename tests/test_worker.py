"""Workers: whatever an engine does, its fit gets a Fit and the run goes on."""

from __future__ import annotations

import hashlib
import math
import os
import site
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bridge import data, engines
from bridge.engines import BUILT_IN
from bridge.errors import BridgeError, DataError, FormulaError, UnavailableError
from bridge.fit import Fit
from bridge.process import Worker
from bridge.run import Task, execute

TESTS = Path(__file__).parent
FRAME = pd.DataFrame(
    {"y": [1.0, 2.0, 3.0, 6.0], "x": [1, 2, 3, 4], "g": pd.Categorical(list("aabb"), categories=["b", "a"])}
)


def task(
    engine: str, data=FRAME, formula: str = "y ~ x + (1 | g)", limit: float = 20.0, hash: str = "h"
) -> Task:
    """One fit of the small frame."""
    return Task("small", data, hash, formula, "REML", f"fakes:{engine}", limit=limit)


@pytest.fixture(scope="module")
def worker():
    """One worker for all tests: each also shows that the one before left it usable."""
    with pytest.MonkeyPatch.context() as patch, Worker() as worker:
        patch.delenv("PYTHONUNBUFFERED", raising=False)  # it would flush C's output, too
        yield worker


@pytest.fixture
def fit(worker: Worker, fakes: Path):
    """Fit by a fake engine."""

    def ask(engine: str, **options) -> Fit:
        return worker.fit(task(engine, **options))

    return ask


def test_answer_comes_back_whole(fit):
    """A field of the Fit would be lost between worker and run."""
    answer = fit("Returns")
    fixed, blup = answer.rows
    assert (answer.status, answer.engine, answer.n) == ("ok", "fakes:Returns", 4)
    assert (answer.loglik, answer.sigma) == (-1.5, 2.0)
    assert (fixed.term, fixed.estimate, fixed.std_error) == ("(Intercept)", 3.0, 1.0)
    assert (blup.group, blup.level, blup.std_error) == ("g", ("é:/ 1",), None)
    assert answer.limit == 20.0


@pytest.mark.parametrize(
    ("engine", "status", "reason"),
    [
        ("Unsupported", "unsupported", "no REML here"),
        ("Raises", "refused", "ZeroDivisionError: singular design"),
        ("Exits", "refused", "SystemExit: 4"),
        ("Segfaults", "crashed", "killed by SIGSEGV; about to go wrong"),
        ("Leaves", "crashed", "ended with exit code 3"),
        ("Scribbles", "crashed", "ValueError: what came through the pipe is not a message"),
    ],
)
def test_misbehaviour_becomes_a_status(fit, engine, status, reason):
    """An engine's failure would stop the run, or lose its reason."""
    answer = fit(engine)
    assert (answer.status, answer.reason, answer.rows) == (status, reason, ())
    assert fit("Returns").status == "ok"


@pytest.mark.parametrize("what", ["y", "X", "Z", "index", "data", "values", "memory"])
def test_an_engine_cannot_change_what_others_get(fakes, monkeypatch, what):
    """The engine that came next would be blamed for what this one did to the data."""
    monkeypatch.setenv("FAKES_OVERWRITE", what)
    with Worker() as worker:
        before = worker.fit(task("Shows"))
        tried = worker.fit(task("Overwrites"))
        assert worker.fit(task("Shows")).messages == before.messages
    if what not in ("data", "values", "memory"):
        assert (tried.status, tried.reason) == ("refused", "ValueError: assignment destination is read-only")


def test_hang_in_compiled_code_is_cut_off(fit):
    """A fit that never ends would hold the run for ever."""
    answer = fit("Hangs", limit=0.3)
    assert (answer.status, answer.reason, answer.limit) == ("timed_out", "no answer within 0.3 s", 0.3)
    assert fit("Returns").status == "ok"


def test_output_of_compiled_code_is_carried(fit):
    """What an engine prints would be lost, or spoil the terminal."""
    own, printed = fit("Prints").messages
    assert own == "its own"
    assert set(printed.splitlines()) == {"from C", "from Python", "to stderr"}
    assert fit("Returns").messages == ()


@pytest.mark.parametrize("what", ["files", "streams"])
def test_an_engine_that_closes_its_output_loses_nothing(fakes, monkeypatch, what):
    """Its answer would be lost, or the next engine's print() be an error of the next engine."""
    monkeypatch.setenv("FAKES_CLOSE", what)
    with Worker() as worker:
        assert worker.fit(task("Closes")).status == "ok"
        printed = worker.fit(task("Prints")).messages[-1]
    assert set(printed.splitlines()) == {"from C", "from Python", "to stderr"}


@pytest.mark.parametrize("said", ["True", "False"])
def test_supports_says_why(fakes, monkeypatch, said):
    """False, meant as no, would be taken for yes, and a True be the whole of the reason."""
    monkeypatch.setenv("FAKES_SUPPORTS", said)
    with Worker() as worker:
        answer = worker.fit(task("Answers"))
    assert (answer.status, answer.reason) == (
        "crashed",
        f"its supports() gave {said}; make it None, or a sentence that says why not",
    )


def test_software_that_does_not_start_is_not_available(fit):
    """It would be a crash, with a line of the traceback for a reason."""
    answer = fit("StartFails")
    assert answer.status == "unavailable"
    assert answer.reason == "engine fakes:StartFails: its start() failed: OSError: no licence file"
    assert fit("Returns").status == "ok"


def test_output_is_bounded(fit):
    """A talkative engine would fill the store."""
    (printed,) = fit("Chatters").messages
    assert 3900 < len(printed) <= 4000
    assert printed.endswith("the end")


def test_nan_and_inf_are_carried_to_the_audit(fit):
    """Not-numbers would be dropped before anybody could judge them."""
    answer = fit("NotNumbers")
    assert answer.status == "ok"
    assert math.isnan(answer.rows[0].estimate)
    assert answer.rows[0].std_error == math.inf
    assert answer.loglik == math.inf


KINDS = ["none", "text", "estimate", "hole", "effect", "rows", "no rows", "messages", "label"]
KINDS += ["loglik", "status", "n", "versions", "level"]


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_is_a_crash(fakes, monkeypatch, kind):
    """An answer of wrong types would blow up later, far from the engine that gave it."""
    monkeypatch.setenv("FAKES_GARBAGE", kind)
    from bridge.engines import get
    from bridge.model import build
    from bridge.worker import _message, answer

    head = {"method": "REML", "profile": "default"}
    fit = answer(get("fakes:Garbage"), build("y ~ x + (1 | g)", FRAME), head)
    import pyarrow as pa

    from bridge.fit import from_arrow

    (sent,) = from_arrow(pa.ipc.open_stream(_message(fit, 0.0)[1]).read_all())
    assert sent.status == "crashed"
    assert sent.reason.startswith("its answer is no Fit: ")


def test_start_of_software_is_not_the_fits_time(fit):
    """R's start-up would eat a short limit."""
    assert fit("SlowStart", limit=0.5).status == "ok"


def test_data_arrive_as_they_are_and_once(fit, tmp_path):
    """Levels would change their order on the way, or each fit read the file again."""
    told = fit("Tells").messages
    assert told[:3] == ("['b', 'a']", "4", "1")
    path = tmp_path / "d.parquet"
    data.write(data.normalise(FRAME), path)
    stated = data.content_hash(data.normalise(FRAME))
    assert fit("Tells", data=path, hash=stated).messages == told
    path.unlink()
    assert fit("Tells", data=path, hash=stated, formula="y ~ 1 + (1 | g)").messages == told


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"formula": "y ~ (1 | g"}, FormulaError, "g"),
        ({"formula": "y ~ nix + (1 | g)"}, BridgeError, "nix"),
        ({"data": Path("no-such.parquet"), "hash": "none"}, DataError, "no-such.parquet"),
    ],
)
def test_bad_input_is_raised_here(fit, options, kind, words):
    """The user's mistake would be blamed on the engine."""
    with pytest.raises(kind, match=words) as caught:
        fit("Returns", **options)
    assert "Traceback" not in str(caught.value)
    assert fit("Returns").status == "ok"


def test_another_interpreter(fakes, monkeypatch, tmp_path):
    """An engine could not live in a Python of its own."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexport FAKES_VERSION=2 PYTHONPATH="$PYTHONPATH:{TESTS / "engines"}"\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    assert engines.versions("fakes:Returns") == {"fake": "1"}
    monkeypatch.setenv("LMMBRIDGE_ENGINE_FAKES_RETURNS_PYTHON", str(python))
    assert engines.interpreter("fakes:Returns") == str(python)
    assert engines.versions("fakes:Returns") == {"fake": "2"}
    with Worker(str(python)) as other:
        told = other.fit(task("Tells")).messages
    assert not set(told[-1].split(os.pathsep)) & {str(TESTS.parent), *site.getsitepackages()}


@pytest.mark.parametrize("python", ["/no/such/python", "/bin/false"])
def test_interpreter_that_does_not_start(fakes, monkeypatch, python):
    """A wrong path in the environment would be a traceback."""
    monkeypatch.setenv("LMMBRIDGE_ENGINE_FAKES_RETURNS_PYTHON", python)
    with pytest.raises(UnavailableError, match=python):
        engines.versions("fakes:Returns")


def test_names_are_those_of_the_metadata():
    """An installed package and a bare checkout would have different engines."""
    import tomllib

    pyproject = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())
    assert pyproject["project"]["entry-points"][engines.GROUP] == BUILT_IN
    assert engines.names()[: len(BUILT_IN)] == list(BUILT_IN)


def test_third_partys_entry_point(monkeypatch, tmp_path):
    """Somebody else's engine would not be found."""
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[lmmbridge.engines]\ntheirs = fakes:Returns\n")
    script = "from bridge import engines; print(engines.names()[-1], engines.get('theirs').name)"
    path = os.pathsep.join([str(tmp_path), str(TESTS.parent), str(TESTS / "engines")])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["theirs", "fake"]


def test_unknown_and_incomplete_engines(fakes, monkeypatch, tmp_path):
    """A typing error would be a traceback, or would not say what there is."""
    with pytest.raises(BridgeError, match=r"lme5.*numpy, statsmodels.*glmm.*lme4"):
        engines.get("lme5")
    (tmp_path / "half.py").write_text("class Half:\n    name = 'half'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BridgeError, match=r"language.*fit"):
        engines.get("half:Half")
    with pytest.raises(UnavailableError, match="nowhere"):
        engines.get("nowhere:Nothing")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise BaseException('odd')", "BaseException: odd"),
        ("class Odd(Returns):\n    def __init__(self): raise SystemExit(0)", "SystemExit: 0"),
        ("class Odd(Returns): pooling = 'total'", "pooling is 'total'; make it one of partial, complete"),
        ("class Odd(Returns): std_error = []", "std_error is []; make it one of phi"),
        ("class Odd(Returns): language = None", "language is None; make it one of Python, R"),
        ("class Odd(Returns): family = 3", "family is 3; make it text"),
        (
            "class Odd(Returns):\n    def version(self): raise OSError('torn')",
            "version() failed (OSError: torn)",
        ),
        (
            "class Odd(Returns):\n    def version(self): raise SystemExit(0)",
            "version() failed (SystemExit: 0)",
        ),
        ("class Odd(Returns):\n    def version(self): return 7", "version() failed (TypeError: "),
        ("class Odd(Returns):\n    def version(self): return {'a': None}", "version() gave {'a': None}"),
        ("class Odd(Returns):\n    def version(self): return {3: 'x'}", "version() gave {3: 'x'}"),
    ],
)
def test_what_no_engine_may_be(fakes, monkeypatch, tmp_path, line, words):
    """A broken adapter would end the run of all others, even with exit code 0."""
    module = "odd" + hashlib.sha256(line.encode()).hexdigest()
    (tmp_path / f"{module}.py").write_text(f"from fakes import Returns\n{line}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UnavailableError) as caught:
        engines.versions(f"{module}:Odd")
    assert words in str(caught.value)


@pytest.mark.needs_r
def test_worker_beside_a_running_r():
    """R in this process puts its libraries before Python's: a worker started then would not load."""
    code = (
        "import rpy2.rinterface as ri; ri.initr(); import os; assert 'R_SESSION_TMPDIR' in os.environ\n"
        "from bridge.process import Worker, _environment\n"
        "assert 'LD_LIBRARY_PATH' not in _environment()\n"
        "with Worker() as worker: print(worker.versions('numpy'))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "R_SESSION_TMPDIR")}
    shown = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True)
    assert "numpy" in shown.stdout, shown.stderr


def test_data_that_change_during_a_run(tmp_path):
    """Fits of the new data would be kept, and found again, as those of the old."""
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "g": ["a", "a", "b", "b"]})
    path = tmp_path / "data.parquet"
    frame.assign(y=frame.y + 1).to_parquet(path)
    stated = data.content_hash(data.normalise(frame))
    task = Task("mine", path, stated, "y ~ 1 + (1 | g)", "ML", "numpy")
    with pytest.raises(DataError, match=r"data.parquet: the file changed while the run went on; run it"):
        execute([task])

"""Interpreter: another Python that is to run an engine, and why it cannot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

OLDEST = (3, 11)
NEEDED = ("numpy", "pandas", "pyarrow")
"""What reading a Model over the pipe takes, and all that it takes; `bridge` itself is lent."""

PROBE = (
    "import json, sys; from importlib.util import find_spec as find; "
    f"print(json.dumps([list(sys.version_info[:2]), [m for m in {NEEDED!r} if find(m) is None]]))"
)


def fault(python: str, environment: Mapping[str, str]) -> str:
    """Why an interpreter cannot run a worker, as the end of a sentence; empty if it can.

    Parameters
    ----------
    python : str
        Path of the program; it is started once, with next to nothing to do.
    environment : mapping
        Its environment variables; PYTHONPATH is left out.
    """
    clean = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(
            [python, "-c", PROBE], env=clean, capture_output=True, text=True, timeout=60, check=False
        )
        version, lacking = json.loads(done.stdout)
    except OSError as error:
        return f"cannot be started ({error.strerror}); give the path of that environment's python"
    except (ValueError, TypeError, subprocess.TimeoutExpired):
        return "does not answer as a Python does; give the path of that environment's python"
    if tuple(version) < OLDEST:
        return (
            f"is Python {version[0]}.{version[1]}; make the environment with {OLDEST[0]}.{OLDEST[1]} or newer"
        )
    if lacking:
        return f"lacks {', '.join(lacking)}; {python} -m pip install {' '.join(lacking)}"
    return ""

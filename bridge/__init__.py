"""lmmbridge: a referee for linear mixed-model software."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.agreement import compare as compare
    from bridge.case import Case as Case
    from bridge.explanation import explain as explain
    from bridge.generate import Design as Design
    from bridge.model import build as build

__version__ = "0.1.0.dev0"

# Imported when first asked for: `import bridge` must not pay for pandas, pyarrow or R.
_HOME = {
    "Case": "bridge.case",
    "Design": "bridge.generate",
    "build": "bridge.model",
    "compare": "bridge.agreement",
    "explain": "bridge.explanation",
}

__all__ = ["Case", "Design", "__version__", "build", "compare", "explain"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bridge' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

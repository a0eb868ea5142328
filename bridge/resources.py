"""Where the folders that travel with the package are: ``r`` and ``cases``."""

from __future__ import annotations

from pathlib import Path

from bridge.errors import BridgeError

NAMES = ("r", "cases")


def find(name: str) -> Path:
    """Folder of R files or of bundled cases, in a wheel, an editable install or a checkout.

    A wheel carries them inside the package, a checkout beside it.

    Parameters
    ----------
    name : {"r", "cases"}

    Returns
    -------
    pathlib.Path
        Absolute.

    Raises
    ------
    ValueError
        Another name.
    BridgeError
        The installation is incomplete; the message names the places looked at.
    """
    if name not in NAMES:
        raise ValueError(f"resource {name!r}: not one of {', '.join(NAMES)}")
    package = Path(__file__).resolve().parent
    inside, beside = package / name, package.parent / name
    if inside.is_dir():
        return inside
    # Without its pyproject.toml the parent is site-packages, where `r` would be somebody else's.
    if beside.is_dir() and (package.parent / "pyproject.toml").is_file():
        return beside
    raise BridgeError(
        f"lmmbridge's folder {name!r} is neither {inside} nor {beside}: the installation is incomplete, "
        "reinstall lmmbridge or take a full checkout"
    )

"""Output: files and folders that a user names, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from pathlib import Path

from bridge.errors import StoreError


def write_bytes(content: bytes, path: str | os.PathLike[str]) -> None:
    """File with this content, or no change at all: a temporary file beside it, then a rename.

    A link stays a link; a device or a pipe is written to as it is.

    Raises
    ------
    StoreError
        Read-only folder, full disk, absent folder.
    """
    path = Path(os.path.realpath(path)) if os.path.isfile(path) else Path(path)
    if os.path.isdir(path):  # and "", which has no name to put a temporary file beside
        raise StoreError(f"{path}: is a folder; name a file in it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a device or a pipe: a rename would put a file in its place
            return
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{path}: {hint(error, 'write')}") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def make_folder(path: Path, said: str) -> Path:
    """The folder, made if it is not there yet; `said` is how the user named it, such as ``-o out``.

    Raises
    ------
    StoreError
        A file of that name, no permission, a full disk.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except FileExistsError:
        raise StoreError(f"{said}: is a file; name a folder") from None
    except OSError as error:
        raise StoreError(f"{said}: cannot be written to ({error.strerror}); name another folder") from None


def check_file(path: Path, said: str) -> None:
    """StoreError unless a file may be written there: said before long work, not after it."""
    if path.is_dir():
        raise StoreError(f"{said}: is a folder; name a file in it")
    if not path.parent.is_dir():
        raise StoreError(f"{said}: no such folder; make it first")


def hint(error: OSError, verb: str = "read") -> str:
    """What went wrong with a file, and the fix."""
    known = {
        errno.ENOENT: "no such file; check the name" if verb == "read" else "no such folder; make it first",
        errno.EISDIR: "is a folder; name a file in it",
        errno.EACCES: f"no permission to {verb} it; change its mode, or choose another place",
        errno.EROFS: "the file system is read-only; choose another place",
        errno.ENOSPC: "the disk is full; make room and try again",
        errno.EDQUOT: "your disk quota is used up; make room and try again",
    }
    return known.get(error.errno or 0, f"cannot {verb} it ({error.strerror}); check the file and its folder")

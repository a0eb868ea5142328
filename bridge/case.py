"""Case: a folder with a model, its data, where they come from, and what is expected of them."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge import data, output, toml
from bridge.errors import CaseError, StoreError
from bridge.fit import Method
from bridge.generate import Design
from bridge.spec import SCHEMA, Expect, Spec

if TYPE_CHECKING:
    import pandas as pd

    from bridge.certificate import Certificate
    from bridge.model import Model

CERTIFIED = "certified.parquet"
ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Case:
    """A case folder, read and checked.

    Attributes
    ----------
    id : str
        Name of the folder.
    folder : Path
    spec : Spec
    """

    id: str
    folder: Path
    spec: Spec

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Case:
        """Case from its folder; the data are not read yet.

        Raises
        ------
        CaseError
            The id is not valid, there is no case.toml, or it is not TOML, or a field is wrong.
        """
        folder = Path(folder)
        check_id(folder.resolve().name)
        path = folder / "case.toml"
        spec = toml.validate(Spec, toml.load(path, CaseError), path, CaseError)
        return cls(folder.resolve().name, folder, spec)

    @classmethod
    def create(
        cls,
        root: str | os.PathLike[str],
        case_id: str,
        fields: Mapping[str, Any],
        frame: pd.DataFrame | None = None,
    ) -> Case:
        """New case folder, whole or not at all.

        Parameters
        ----------
        root : path
            Folder of cases, such as ``cases``; made if absent.
        case_id : str
        fields : mapping
            case.toml's fields; ``schema`` and ``[data]`` are filled in.
        frame : DataFrame, optional
            The data; by default drawn from ``fields["generate"]``, with the truth beside them.

        Raises
        ------
        CaseError
            Not a valid id or field, or the folder exists.
        DataError, StoreError
        """
        check_id(case_id)
        folder = Path(root) / case_id
        if folder.exists():
            raise CaseError(f"{folder}: this case exists; choose another name or remove the folder")
        draft: dict[str, Any] = {"schema": SCHEMA, **fields}
        generate = draft.pop("generate", None)
        drawn = None
        if frame is None and generate is not None:
            drawn = Design.from_table(generate, folder / "case.toml: generate").draw()
        frame = drawn.frame if drawn else frame if frame is None else data.normalise(frame, case_id)
        if frame is not None:
            draft["data"] = {"file": "data.parquet", "hash": data.content_hash(frame), "rows": len(frame)}
        if generate is not None:
            draft["generate"] = generate
        toml.validate(Spec, draft, folder / "case.toml", CaseError)
        with _whole(folder) as temporary:
            if drawn is not None:
                drawn.write(temporary)
            elif frame is not None:
                data.write(frame, temporary / "data.parquet")
            output.write_bytes(_document(draft).encode(), temporary / "case.toml")
        return cls.load(folder)

    def save(self, **fields: Any) -> Case:
        """Case with these fields of case.toml changed (None removes one); comments and order stay.

        Raises
        ------
        CaseError
            The result would not be valid; the file is left as it was.
        StoreError
        """
        import tomlkit

        path = self.folder / "case.toml"
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
        for name, value in fields.items():
            if value is None:
                document.pop(name, None)
            else:
                document[name] = value
        text = tomlkit.dumps(document)
        toml.validate(Spec, tomllib.loads(text), path, CaseError)
        output.write_bytes(text.encode(), path)
        return Case.load(self.folder)

    def expect(self, method: Method) -> Expect:
        """What is expected under a method."""
        expected = self.spec.expect
        return expected.get(method, "ok") if isinstance(expected, dict) else expected

    @property
    def path(self) -> Path | None:
        """Where the data are stored; None if they are drawn each time."""
        return self.folder / self.spec.data.file if self.spec.data and self.spec.data.file else None

    def frame(self) -> pd.DataFrame:
        """The data, normalised, their rows and content hash verified.

        Raises
        ------
        DataError
            The file cannot be read.
        CaseError
            It does not hold what case.toml says.
        """
        if self.spec.data is None:
            return self.drawn()
        path, said = self.path or self.folder / "case.toml", self.spec.data
        frame = data.normalise(data.read(path), str(path)) if self.path else self.drawn()
        for what, found, stated in [
            ("rows", len(frame), said.rows),
            ("hash", data.content_hash(frame), said.hash),
        ]:
            if found != stated:
                remedy = f"restore the file, or mend {self.folder / 'case.toml'} if the change was meant"
                raise CaseError(f"{path}: {what} is {found}, but data.{what} says {stated}; {remedy}")
        return frame

    def drawn(self) -> pd.DataFrame:
        """The data drawn anew from the ``[generate]`` table; CaseError if there is none."""
        if self.spec.generate is None:
            raise CaseError(f"{self.folder / 'case.toml'}: generate: missing; its data were not drawn")
        return self.spec.generate.draw().frame

    def model(self) -> Model:
        """The formula met with the data; raises what `frame` does, FormulaError and ModelError."""
        from bridge.model import build

        spec, frame = self.spec, self.frame()
        known = {"weights": spec.weights, "offset": spec.offset}
        return build(spec.formula, frame, missing=spec.missing, name=str(self.folder), **known)

    @property
    def data_hash(self) -> str:
        """Content hash of the data, as case.toml has it; of the data drawn, if it has none."""
        return self.spec.data.hash if self.spec.data else data.content_hash(self.drawn())

    def certificates(self) -> dict[Method, Certificate]:
        """What certified.parquet says of this model and these data, by method; empty if nothing.

        Raises
        ------
        StoreError
            The file is not a certificate.
        """
        from bridge.certificate import read

        path = self.folder / CERTIFIED
        if not path.exists():
            return {}
        about = self.spec.formula, self.spec.weights, self.spec.offset, self.data_hash
        return {c.method: c for c in read(path) if c.about == about}


def check_id(case_id: str) -> None:
    """Raise CaseError unless letters, digits, ``.``, ``_`` and ``-`` only, and no leading dot."""
    if not ID.fullmatch(case_id):
        raise CaseError(
            f"case id {case_id!r}: use letters, digits, '.', '_' and '-' only, no path and no leading dot"
        )


def is_case(path: Path) -> bool:
    """Whether a case.toml is one of ours, whatever its faults: another program's is none of our business."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"""(?m)^[\s\ufeff]*schema\s*=\s*["']lmmbridge/""", text) is not None


def discover(root: str | os.PathLike[str]) -> list[Case]:
    """Cases in the folders of `root` (or `root` itself, if it is one), by id.

    Raises
    ------
    CaseError
        `root` is not a folder, or a case in it is not valid.
    """
    root = Path(root)
    if not root.is_dir():
        raise CaseError(f"{root}: not a folder; name one that holds case folders")
    files = [root / "case.toml", *sorted(root.glob("*/case.toml"))]
    return [Case.load(path.parent) for path in files if is_case(path)]


def find(ids: Sequence[str], roots: Iterable[str | os.PathLike[str]]) -> list[Case]:
    """Cases by id, in the order asked for; all, if `ids` is empty. Earlier roots come first.

    Raises
    ------
    CaseError
        No such case (the message names the closest), or one is not valid.
    """
    places = [Path(root) for root in roots]
    if not ids:
        found: dict[str, Case] = {}
        for place in places:
            found = {case.id: case for case in discover(place)} | found
        return [found[case_id] for case_id in sorted(found)]
    return [Case.load(_locate(case_id, places)) for case_id in dict.fromkeys(ids)]


def _locate(case_id: str, places: Sequence[Path]) -> Path:
    check_id(case_id)
    for place in places:
        if (place / case_id / "case.toml").is_file():
            return place / case_id
    known = sorted({path.parent.name for place in places for path in place.glob("*/case.toml")})
    close = difflib.get_close_matches(case_id, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else "lmmbridge list shows those there are"
    raise CaseError(f"case {case_id!r}: not in {', '.join(map(str, places))}; {advice}")


class _whole:
    """Folder that appears complete or not at all: filled under a temporary name, then renamed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")

    def __enter__(self) -> Path:
        self.made = [parent for parent in self.temporary.parents if not parent.exists()]
        try:
            self.temporary.mkdir(parents=True)
        except OSError as error:
            reason = error.strerror
            raise StoreError(f"{self.folder}: cannot make it ({reason}); choose another place") from None
        return self.temporary

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self.temporary.rename(self.folder)
                self.made = []
            elif isinstance(error, StoreError):
                raise StoreError(str(error).replace(str(self.temporary), str(self.folder))) from None
        except OSError as fault:
            reason = fault.strerror
            raise StoreError(f"{self.folder}: cannot make it ({reason}); choose another name") from None
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)
            for parent in self.made:
                with suppress(OSError):
                    parent.rmdir()


def _document(fields: Mapping[str, Any]) -> str:
    """case.toml of a new case."""
    import tomlkit

    document = tomlkit.document()
    for name, value in fields.items():
        if isinstance(value, str) and "\n" in value:
            document[name] = tomlkit.string(value, multiline=True)
        else:
            document[name] = value
    return tomlkit.dumps(document)

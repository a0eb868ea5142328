"""``lmmbridge export-reference``: csv and json alone give back what is certified, and nothing is lost."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from bridge import data
from bridge.case import Case, discover
from bridge.certificate import Certificate, Local, Number, Row, write
from bridge.cli import app
from bridge.export import data_csv
from bridge.resources import find
from tests.front import FORMULA, clusters

CASES = find("cases")
NASTY = "<script>|*a*`\n\x1b[31m"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own; ./cases has one case with a certificate and one without."""
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "bare"):
        case = Case.create("cases", name, FIELDS, clusters())
    certify("mine", "2.5")
    assert case.certificates() == {}
    return tmp_path


FIELDS = {"title": "t", "formula": FORMULA, "methods": ["REML", "ML"], "source": "s", "licence": "l"}


def certify(name: str, beta: str) -> None:
    """A certificate of two numbers, as the file holds it."""
    case = Case.load(f"cases/{name}")
    rows = (
        Row("fixed", None, None, "x", Number(beta, "1E-29", float(beta))),
        Row("theta", "g", None, "(Intercept)", Number("nan", "inf", float("nan"))),
    )
    optima = (Local(Number("7.5", "1E-29", 7.5), (Number("1.25", "1E-29", 1.25),), (1,), True),)
    made = Certificate(
        "REML", "ok", "", "global", rows=rows, optima=optima, bits=256,
        formula=case.spec.formula, data_hash=case.data_hash, versions={"python-flint": "0"},
    )  # fmt: skip
    write(case.folder / "certified.parquet", [made])


def call(*arguments: str) -> Result:
    """``lmmbridge export-reference`` with these arguments."""
    return CliRunner().invoke(app, ["export-reference", *arguments])


def table(path: Path) -> list[dict[str, str]]:
    """A CSV file by the standard library."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled cases, exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        done = call("reference")
        assert done.exit_code == 0, done.output
        return Path("reference").absolute()


@pytest.mark.parametrize("name", [c.id for c in discover(CASES) if "slow" not in c.spec.tags])
def test_read_back(exported: Path, name: str) -> None:
    """A datum would lose its last bit, or a certified number, label or optimum be another."""
    case, folder = Case.load(CASES / name), exported / name
    frame, certificates = case.frame(), case.certificates()
    said = json.loads((folder / "reference.json").read_text(encoding="utf-8"))
    rows = table(folder / "data.csv")
    assert len(rows) == said["data"]["rows"] == len(frame)
    assert [column["name"] for column in said["data"]["columns"]] == list(frame)
    for column in said["data"]["columns"]:
        cells, truth = [row[column["name"]] for row in rows], frame[column["name"]]
        if column["kind"] in ("factor", "ordered"):
            assert cells == [
                "" if level is None else level for level in truth.astype(object).where(truth.notna(), None)
            ]
            assert column["levels"] == list(truth.cat.categories)
        elif column["kind"] == "bool":
            assert [cell.lower() for cell in cells] == [str(value).lower() for value in truth]
        else:
            numbers = np.array([float(cell or "nan") for cell in cells])
            assert np.array_equal(numbers, truth.to_numpy(float), equal_nan=True)
    assert (said["formula"], said["data"]["hash"]) == (case.spec.formula, case.data_hash)
    assert [r["method"] for r in said["references"]] == list(certificates)
    tidy = iter(table(folder / "reference.csv"))
    for reference in said["references"]:
        made = certificates[reference["method"]]
        assert (reference["status"], reference["proof"]) == (made.status, made.proof)
        assert [o["deviance"]["value"] for o in reference["local_optima"]] == [
            o.criterion.value for o in made.optima
        ]
        for value, row in zip(reference["values"], made.rows, strict=True):
            labels = (value["effect"], value["group"], value["level"], value["term"])
            level = None if row.level is None else list(row.level)
            assert labels == (row.effect, row.group, level, row.term)
            number = row.number
            assert (value["value"], value["radius"], value["double"]) == (
                number.value, number.radius, number.double,
            )  # fmt: skip
            line = next(tidy)
            assert line["method"] == made.method
            assert (line["effect"], line["term"]) == (row.effect, row.term)
            assert (line["group"], line["level"]) == (row.group or "", ":".join(row.level or ()))
            assert (line["value"], line["radius"], float(line["double"])) == (
                number.value, number.radius, number.double,
            )  # fmt: skip
    assert next(tidy, None) is None


def test_readmes_show_what_is_known(exported: Path) -> None:
    """The known values of sleepstudy would not be where a reader looks."""
    text = (exported / "sleepstudy/README.md").read_text(encoding="utf-8")
    for line in (
        "| log-likelihood | -8.71814135979245E+02 |",
        "| variance of Days by Subject | 3.50716604983174E+01 |",
        "| covariance of (Intercept).Days by Subject | 9.60433331674411E+00 |",
        "| residual variance | 6.54941027072299E+02 |",
        "not proven",
    ):
        assert line in text
    index = (exported / "README.md").read_text(encoding="utf-8")
    for path in exported.glob("*/README.md"):
        assert f"]({path.parent.name}/README.md)" in index
    bimodal = (exported / "bimodal/README.md").read_text(encoding="utf-8")
    assert "- -8.35348992988165E+01 (proven)\n- -7.84862339970968E+01 (proven)" in bimodal


def test_what_cannot_be_told_is_null(here: Path) -> None:
    """NaN would make the file no JSON; a case without a certificate would be passed over in silence."""
    done = call("out")
    assert done.exit_code == 0, done.output
    assert "without a certificate: bare" in done.stderr
    assert sorted(os.listdir("out")) == ["README.md", "mine"]
    text = Path("out/mine/reference.json").read_text(encoding="utf-8")
    (said,) = json.loads(text, parse_constant=pytest.fail)["references"]
    assert [value["double"] for value in said["values"]] == [2.5, None]
    assert said["local_optima"][0]["relative_covariances"] == [
        {"group": "g", "term": "var__(Intercept)", "value": "1.25", "radius": "1E-29", "double": 1.25}
    ]
    assert table(Path("out/mine/reference.csv"))[1]["value"] == ""


def test_untrusted_text_is_shown_not_obeyed(here: Path) -> None:
    """A title or label could end a table, start HTML or steer a terminal; or the data would be changed."""
    frame = clusters().assign(g=lambda d: d["g"].replace("g0", NASTY), z=[None, *range(1, len(clusters()))])
    Case.create("cases", "nasty", FIELDS | {"title": NASTY, "source": NASTY, "licence": NASTY}, frame)
    certify("nasty", "2.5")
    assert call("out", "nasty").exit_code == 0
    for path in Path("out").rglob("README.md"):
        text = path.read_text(encoding="utf-8")
        assert "<script>" not in text
        assert "\x1b" not in text
        for line in text.splitlines():
            if line.startswith("| Source"):
                assert line.replace("\\|", "").count("|") == 3
    rows = table(Path("out/nasty/data.csv"))
    assert rows[0]["g"] == NASTY
    assert rows[0]["z"] == ""
    said = json.loads(Path("out/nasty/reference.json").read_text(encoding="utf-8"))
    assert said["title"] == NASTY


def test_every_kind_of_column(here: Path) -> None:
    """An integer, a logical, an ordered level or a hole would not come back as it was."""
    kinds = pd.DataFrame(
        {
            "y": [0.1, 1e300, 5e-324, -0.0, float("nan"), 1 / 3],
            "n": [2**53 + 1, 0, -1, 2, 3, 4],
            "b": [True, False, True, False, True, False],
            "o": pd.Categorical(["lo", "hi", None, "lo", "hi", "lo"], ["lo", "hi"], ordered=True),
            "g": list("aabbcc"),
        }
    )
    frame = data.normalise(kinds)
    Path("d.csv").write_text(data_csv(frame), encoding="utf-8", newline="")
    back = data.normalise(
        data.read("d.csv").assign(o=lambda d: pd.Categorical(d["o"], ["lo", "hi"], ordered=True))
    )
    assert data.content_hash(back) == data.content_hash(frame)


def test_folder_that_is_not_empty(here: Path) -> None:
    """Somebody's files would be lost, or --force would leave an old export beside the new."""
    out = here / "out"
    out.mkdir()
    (out / "mine.txt").write_text("theirs")
    done = call("out")
    assert done.exit_code == 2
    assert "not empty" in done.stderr
    assert os.listdir(out) == ["mine.txt"]
    assert call("out", "--force").exit_code == 0
    certify("mine", "3.5")
    (out / "mine/stale").write_text("")
    assert call("out", "--force").exit_code == 0
    assert sorted(os.listdir(out)) == ["README.md", "mine", "mine.txt"]
    assert table(out / "mine/reference.csv")[0]["value"] == "3.5"
    assert not (out / "mine/stale").exists()
    for path in (out / "mine").iterdir():
        path.unlink()
    (out / "mine/theirs").write_text("")
    done = call("out", "--force")
    assert done.exit_code == 2
    assert "not an earlier export" in done.stderr
    assert sorted(os.listdir(out)) == ["README.md", "mine", "mine.txt"]
    assert os.listdir(out / "mine") == ["theirs"]


def test_nothing_half_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk would leave half a data set that looks whole."""
    before = sorted(os.listdir(here))
    count = iter(range(100))
    write_text = Path.write_text

    def full(self: Path, text: str, **how: str) -> int:
        if next(count) == 2:
            raise OSError(28, "No space left on device")
        return write_text(self, text, **how)

    monkeypatch.setattr(Path, "write_text", full)
    done = call("out")
    assert done.exit_code == 2
    assert done.stderr == "lmmbridge: out: cannot be written (No space left on device); name another folder\n"
    assert sorted(os.listdir(here)) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("out", "bare"), "lmmbridge certify bare"),
        (("out", "nine"), "'nine'"),
        (("cases/mine/case.toml",), "not a folder"),
        (("cases/mine/case.toml/out",), "case.toml/out"),
    ],
)
def test_bad_input_is_2_in_one_line(here: Path, arguments: tuple[str, ...], says: str) -> None:
    """Bad input would end in a traceback or leave a folder behind."""
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert os.listdir(here) == ["cases"]

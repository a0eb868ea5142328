"""Case: what a folder says is read exactly, or refused in one line; shipped data are R's own."""

import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bridge import data
from bridge.case import Case, check_id, discover, find, is_case
from bridge.entry import Entry
from bridge.errors import BridgeError, CaseError, StoreError
from bridge.resources import find as resource
from bridge.spec import KnownDifference

CASES = resource("cases")
FIELDS = {
    "title": "A trial",
    "formula": "y ~ x + (1 | g)",
    "methods": ["REML", "ML"],
    "source": "Doe (2026)",
    "licence": "CC0-1.0",
}
KNOWN = """
[[known_difference]]
engine = "lme4"
verdicts = ["WORSE_OPTIMUM"]
reason = "x is not centred"
"""


def _frame() -> pd.DataFrame:
    return pd.DataFrame({"y": [1.0, 2.0, 4.0], "x": [1, 2, 3], "g": ["a", "a", "b"]})


@pytest.fixture
def case(tmp_path) -> Case:
    """A small case of one's own."""
    return Case.create(tmp_path / "cases", "trial", FIELDS, _frame())


def _edit(case: Case, old: str, new: str) -> Path:
    path = case.folder / "case.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def _one_line(error: BridgeError, *parts: object) -> None:
    assert "\n" not in str(error)
    for part in parts:
        assert str(part) in str(error)


def test_create_and_load(case):
    """A new case would not read back as it was given."""
    again = Case.load(case.folder)
    assert again == case
    assert (again.id, again.spec.title, again.spec.methods) == ("trial", "A trial", ("REML", "ML"))
    pd.testing.assert_frame_equal(again.frame(), data.normalise(_frame()))
    assert sorted(os.listdir(case.folder)) == ["case.toml", "data.parquet"]
    assert os.listdir(case.folder.parent) == ["trial"]


def test_create_from_a_design(tmp_path):
    """A generated case would lack its data, its truth, or the way back to them."""
    table = {"seed": 1, "icc": 0.2, "clusters": {"number": 4, "size": 3}}
    case = Case.create(tmp_path, "drawn", {**FIELDS, "formula": "y ~ 1 + (1 | cluster)", "generate": table})
    assert sorted(os.listdir(case.folder)) == ["case.toml", "data.parquet", "truth.parquet"]
    pd.testing.assert_frame_equal(case.frame(), case.drawn())
    (case.folder / "case.toml").write_text(
        "".join(
            line
            for line in (case.folder / "case.toml").read_text().splitlines(True)
            if not line.startswith(("[data]", "file", "hash", "rows"))
        )
    )
    without = Case.load(case.folder)
    assert without.spec.data is None
    pd.testing.assert_frame_equal(without.frame(), case.frame())


@pytest.mark.parametrize("bad", ["../up", "a/b", "a\\b", ".hidden", "", "a b", "é", ".."])
def test_bad_ids(tmp_path, bad):
    """A case could be written outside of its folder."""
    with pytest.raises(CaseError) as caught:
        Case.create(tmp_path, bad, FIELDS, _frame())
    _one_line(caught.value, repr(bad), "letters")
    with pytest.raises(CaseError):
        find([bad], [tmp_path])
    assert os.listdir(tmp_path) == []


def test_good_ids():
    """A plain name would be refused."""
    for good in ("sleepstudy", "a.b-c_1", "2026"):
        check_id(good)


def test_create_leaves_nothing_half_written(tmp_path, monkeypatch, case):
    """A failed `add` would leave a folder that is not a case."""
    root = tmp_path / "other"
    with pytest.raises(CaseError, match=r"methods\[0\]"):
        Case.create(root, "x", FIELDS | {"methods": ["REMLL"]}, _frame())
    assert not root.exists()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError) as caught:
        Case.create(case.folder.parent, "x", FIELDS, _frame())
    _one_line(caught.value, f"{case.folder.parent / 'x/data.parquet'}: the disk is full")
    with pytest.raises(StoreError):
        Case.create(root / "cases", "x", FIELDS, _frame())
    assert not root.exists()
    assert os.listdir(case.folder.parent) == ["trial"]


def test_data_that_are_not_stored(tmp_path):
    """Large data would have to be stored, or be drawn unchecked."""
    design = {"seed": 3, "residual_sd": 1.0, "clusters": {"number": 4, "size": 3, "sd": 1.0}}
    fields = {
        "title": "t",
        "formula": "y ~ 1 + (1 | cluster)",
        "methods": ["ML"],
        "source": "s",
        "licence": "l",
    }
    case = Case.create(tmp_path, "mine", {**fields, "generate": design})
    stored, said = case.frame(), dict(case.spec.data)
    assert case.path == case.folder / "data.parquet"
    os.remove(case.path)
    case = case.save(data={**said, "file": ""})
    assert case.path is None
    assert case.frame().equals(stored)
    assert Entry.of_case(case).path is None
    with pytest.raises(CaseError, match=r"case.toml: rows is 12, but data.rows says 13"):
        case.save(data={**said, "file": "", "rows": 13}).frame()
    with pytest.raises(CaseError, match=r"add a \[generate\] table"):
        case.save(generate=None)


def test_create_does_not_overwrite(case):
    """Somebody's case would be lost."""
    with pytest.raises(CaseError) as caught:
        Case.create(case.folder.parent, "trial", FIELDS, _frame())
    _one_line(caught.value, case.folder, "exists", "another name")


def test_create_where_a_file_is(tmp_path):
    """A wrong folder name would end in a traceback."""
    (tmp_path / "cases").write_text("")
    with pytest.raises(StoreError) as caught:
        Case.create(tmp_path / "cases", "x", FIELDS, _frame())
    _one_line(caught.value, tmp_path / "cases")


def test_save_keeps_comments(case):
    """An update would throw away what people wrote beside the fields."""
    path = _edit(case, 'title = "A trial"', '# why so\ntitle = "A trial"  # for now')
    changed = Case.load(case.folder).save(title="Another", tags=["new"])
    assert changed.spec.title == "Another"
    assert changed.spec.tags == ("new",)
    text = path.read_text()
    assert '# why so\ntitle = "Another"' in text
    assert "# for now" in text
    assert changed.save(tags=None).spec.tags == ()


def test_save_keeps_a_valid_file(case):
    """A wrong update would break the case."""
    before = (case.folder / "case.toml").read_text()
    with pytest.raises(CaseError, match="expect"):
        case.save(expect="maybe")
    assert (case.folder / "case.toml").read_text() == before


def test_changed_data_are_noticed(case):
    """Somebody would compare engines on data that are not the case's."""
    was, other = data.normalise(_frame()), data.normalise(_frame().assign(x=[1, 2, 4]))
    data.write(other, case.folder / "data.parquet")
    with pytest.raises(CaseError) as caught:
        case.frame()
    both = (data.content_hash(was), data.content_hash(other))
    _one_line(caught.value, case.folder / "data.parquet", *both, "restore")
    data.write(other.iloc[:2], case.folder / "data.parquet")
    with pytest.raises(CaseError) as caught:
        case.frame()
    _one_line(caught.value, "rows is 2", "says 3")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"REML"', '"REMLL"', "methods[0]: 'REMLL' is not one of REML, ML"),
        ('methods = ["REML", "ML"]', "methods = []", "methods: []"),
        ('"ML"]', '"REML"]', "methods: names a method twice"),
        ('title = "A trial"\n', "", "title: missing; add it"),
        ('title = "A trial"', "title = 3", "title: 3"),
        ("title =", "titel = 1\ntitle =", "titel: unknown key"),
        ("[data]", 'expect = "maybe"\n[data]', "expect: 'maybe' is not one of ok, singular"),
        ("[data]", 'expect = {REML = "maybe"}\n[data]', "expect: 'maybe' is not one of ok, singular"),
        ("[data]", 'expect = {MM = "ok"}\n[data]', "'MM' is not one of REML, ML"),
        ("[data]", 'missing = "drop"\n[data]', "missing: 'drop' is not one of omit, pass"),
        ("[data]", "weights = 2\n[data]", "weights: 2"),
        ("[data]", 'offset = ["o"]\n[data]', "offset: ['o']"),
        ("[data]", "time_limit = 0\n[data]", "time_limit: 0"),
        ("[data]", "time_limit = 1e300\n[data]", "time_limit: 1e+300"),
        ('schema = "lmmbridge/1"', 'schema = "lmmbridge/2"', "schema: 'lmmbridge/2' is not one of"),
        ("rows = 3", 'rows = "3"', "data.rows: '3'"),
        ("sha256:", "md5:", "data.hash: 'md5:"),
        ('file = "data.parquet"', 'file = "../data.parquet"', "data.file: '../data.parquet'"),
        ("[data]", "[date]", "date: unknown key"),
        ('file = "data.parquet"', 'file = "../a"', "data.file: '../a' is not the name of a file"),
        ("sha256:", "md5:", "is not sha256: and 64 hexadecimal digits"),
        ("[data]", "[generate]\nseed = 1\n[data]", "generate.clusters: missing"),
        ("rows = 3", "rows = 3\n" + KNOWN.replace("WORSE", "WORST"), "verdicts[0]: 'WORST"),
        ("rows = 3", "rows = 3\n" + KNOWN.replace("engine", "motor"), "known_difference[0]."),
        ("rows = 3\n", "rows = 3" + KNOWN + 'versions = "lme4 before 2"', "[0].versions: 'lme4"),
        ("rows = 3\n", "rows = 3" + KNOWN + 'profile = "loose"', "known_difference[0].profile: 'loose'"),
    ],
)  # fmt: skip
def test_bad_fields(case, old, new, words):
    """A mistake in case.toml would be silently ignored, or end in a traceback."""
    path = _edit(case, old, new)
    with pytest.raises(CaseError) as caught:
        Case.load(case.folder)
    _one_line(caught.value, f"{path}: ", words)


def test_no_data_at_all(case):
    """A case with neither data nor a design would fail late."""
    path = case.folder / "case.toml"
    path.write_text(path.read_text().split("[data]")[0])
    with pytest.raises(CaseError) as caught:
        Case.load(case.folder)
    _one_line(caught.value, path, "data: missing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'schema = "lmmbridge/1"\ntitle = \n', "line 2"),
        (b'schema = "lmmbridge/1"\nschema = "x"\n', "line 2"),
        (b'schema = "lmmbridge/1"\ntitle = "\xff"\n', "UTF-8"),
        (b'\xef\xbb\xbfschema = "lmmbridge/1"\n', "byte order mark"),
    ],
    ids=["syntax", "twice", "latin1", "bom"],
)
def test_broken_toml(tmp_path, content, words):
    """The message would not say where to look."""
    (tmp_path / "broken").mkdir()
    path = tmp_path / "broken" / "case.toml"
    path.write_bytes(content)
    with pytest.raises(CaseError) as caught:
        Case.load(tmp_path / "broken")
    _one_line(caught.value, path, words)
    with pytest.raises(CaseError):
        discover(tmp_path)


def test_absent_case_toml(tmp_path):
    """An empty folder would end in a traceback."""
    with pytest.raises(CaseError) as caught:
        Case.load(tmp_path)
    _one_line(caught.value, "case.toml", "no such file")


def test_expect_by_method(case):
    """What holds for one method only would be asked of both."""
    assert case.expect("ML") == "ok"
    both = case.save(expect="singular")
    assert (both.expect("REML"), both.expect("ML")) == ("singular", "singular")
    one = case.save(expect={"ML": "singular"})
    assert (one.expect("REML"), one.expect("ML")) == ("ok", "singular")


def test_discover_and_find(tmp_path, case):
    """Other people's case.toml files would be collected, or cases missed."""
    root = case.folder.parent
    (root / "foreign").mkdir()
    (root / "foreign" / "case.toml").write_text('schema = "other/1"\n[broken')
    (root / "notes").mkdir()
    assert not is_case(root / "foreign" / "case.toml")
    assert [found.id for found in discover(root)] == ["trial"]
    assert [found.id for found in discover(case.folder)] == ["trial"]
    second = Case.create(tmp_path / "more", "trial", FIELDS | {"title": "Shadowed"}, _frame())
    Case.create(tmp_path / "more", "extra", FIELDS, _frame())
    roots = [root, second.folder.parent]
    assert [found.id for found in find([], roots)] == ["extra", "trial"]
    assert find([], roots)[1] == case
    assert find(["trial", "extra", "trial"], roots) == [case, Case.load(tmp_path / "more" / "extra")]
    with pytest.raises(CaseError) as caught:
        find(["trail"], roots)
    _one_line(caught.value, "'trail'", "did you mean 'trial'?")
    with pytest.raises(CaseError) as caught:
        discover(tmp_path / "absent")
    _one_line(caught.value, "absent", "not a folder")


@pytest.mark.parametrize(
    ("condition", "versions", "applies"),
    [
        ("", {}, True),
        ("lme4 < 1.1-35", {"lme4": "1.1-31"}, True),
        ("lme4 < 1.1-35", {"lme4": "1.1-35"}, False),
        ("lme4 <= 1.1-35", {"lme4": "1.1.35"}, True),
        ("lme4 == 1.1-35", {"lme4": "1.1.35"}, True),
        ("lme4 < 1.1-4", {"lme4": "1.1-31"}, False),
        ("lme4 < 1.1-35", {"lme4": "1.1-35.5"}, False),
        ("lme4 < 1.1-35", {"lme4": "2.1-0"}, False),
        ("lme4 < 1.1-35", {"nlme": "3.1-162"}, False),
        ("R >= 4.2, lme4 == 1.1-31", {"R": "4.2.2 Patched", "lme4": "1.1-31"}, True),
        ("R >= 4.3, lme4 == 1.1-31", {"R": "4.2.2", "lme4": "1.1-31"}, False),
        ("statsmodels!=0.15.0", {"statsmodels": "0.15.0"}, False),
        ("statsmodels > 0.14", {"statsmodels": "0.15.0.dev0+12.gabc"}, True),
    ],
)
def test_versions(condition, versions, applies):
    """A known difference would be excused in a version that has mended it, or not where it has not."""
    known = KnownDifference(engine="lme4", verdicts=["FLAT"], reason="why", versions=condition)
    assert known.applies(versions) is applies


def test_known_difference_matches(case):
    """A known difference of one engine or profile would excuse another."""
    _edit(case, "rows = 3\n", "rows = 3" + KNOWN + 'profile = ["default"]\nmethods = "*"\nsize = 43.0')
    (known,) = Case.load(case.folder).spec.known_difference
    assert known.size == 43.0
    assert known.matches("lme4", "ML", "default", {})
    assert known.matches("lme4", "REML", "default", {})
    assert not known.matches("lme4", "ML", "tight", {})
    assert not known.matches("nlme", "ML", "default", {})


def test_a_wrong_reference_cannot_be_foreseen(case):
    """A case could excuse the referee's own fault."""
    _edit(case, "rows = 3\n", "rows = 3" + KNOWN.replace("WORSE_OPTIMUM", "REFERENCE_WRONG"))
    with pytest.raises(CaseError, match=r"verdicts: REFERENCE_WRONG is the referee's own fault"):
        Case.load(case.folder)


@pytest.mark.parametrize("case", discover(CASES), ids=lambda case: case.id)
def test_shipped_case(case):
    """A shipped case's data would not match its hash, its formula not its data, or its draw not its file."""
    model = case.model()
    assert model.n + model.dropped == case.spec.data.rows
    if case.spec.generate is not None:
        assert data.content_hash(case.drawn()) == case.spec.data.hash


@pytest.mark.parametrize("case", discover(CASES), ids=lambda case: case.id)
def test_shipped_case_says_why(case):
    """A reader could not tell what a case is for, whose data it has, or how far off a known failure is."""
    spec = case.spec
    assert len(spec.why) > 30
    assert spec.tags
    assert re.search(rf"`{spec.family}`", (CASES.parent / "docs" / "cases.md").read_text(encoding="utf-8"))
    assert spec.source
    assert spec.licence
    if spec.family == "reported":
        assert re.search(r"https://github.com/\S+/issues/\d+$", spec.source)
    for known in spec.known_difference:
        assert known.size not in ("", 0)
        gives = {v for v in known.verdicts if v.answered and not v.passes}
        assert gives or not known.silent
        assert len(known.reason) > 30


def test_the_catalogue_is_wide():
    """A family, or the reports that it was rebuilt from, would have been lost."""
    cases = discover(CASES)
    families = Counter(case.spec.family for case in cases)
    assert len(cases) >= 60
    assert families["reported"] >= 15
    assert len(families) >= 20
    assert max(len(case.id) for case in cases) <= 40


FROM_R = {
    "sleepstudy": "lme4::sleepstudy",
    "sleepstudy-uncorrelated": "lme4::sleepstudy",
    "sleepstudy-intercept": "lme4::sleepstudy",
    "sleepstudy-days2000": "transform(lme4::sleepstudy, Days = Days + 2000)",
    "dyestuff": "lme4::Dyestuff",
    "dyestuff2": "lme4::Dyestuff2",
    "penicillin": "lme4::Penicillin",
    "pastes": "lme4::Pastes",
    "orthodont": "nlme::Orthodont",
    "machines": "nlme::Machines",
    "rail": "nlme::Rail",
}
DUMP = """
dump <- function(id, d) {
  for (name in names(d)) {
    v <- d[[name]]
    kind <- if (is.factor(v)) "factor" else if (is.double(v)) "float" else "int"
    if (is.ordered(v)) kind <- "ordered"
    cells <- if (is.factor(v)) as.character(v) else sprintf("%.17g", v)
    cat(id, name, kind, paste(levels(v), collapse = "|"), paste(cells, collapse = "|"), sep = "\\t")
    cat("\\n")
  }
}
"""


@pytest.fixture(scope="module")
def in_r() -> pd.DataFrame:
    """R's own data, a row a column of a case: its name, kind, levels and cells."""
    program = shutil.which("Rscript")
    assert program
    calls = [f"dump('{case_id}', as.data.frame({expression}))" for case_id, expression in FROM_R.items()]
    done = subprocess.run(
        [program, "--vanilla", "-e", "\n".join([DUMP, *calls])],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    names = ["case", "name", "kind", "levels", "cells"]
    return pd.DataFrame([line.split("\t") for line in done.stdout.splitlines()], columns=names)


@pytest.mark.needs_r
@pytest.mark.parametrize("case_id", FROM_R)
def test_data_are_as_in_r(case_id, in_r):
    """A shipped cell, type or level order would differ from the data that R users fit."""
    frame = Case.load(CASES / case_id).frame()
    theirs = in_r[in_r["case"] == case_id]
    assert list(frame) == list(theirs["name"])
    for row in theirs.itertuples():
        column, cells = frame[row.name], row.cells.split("|")
        assert data.kind(column) == row.kind
        if row.kind in ("factor", "ordered"):
            assert list(column.cat.categories) == row.levels.split("|")
            assert list(column) == cells
        else:
            assert np.array_equal(column.to_numpy(), [float(cell) for cell in cells])


@pytest.mark.parametrize(("theta", "published"), [(0.0, -83.53490), (34.62739, -78.48623)])
def test_bimodal_is_the_published_table(theta, published):
    """A slip of the pen in the data typed in: the two minima would be others."""
    frame = Case.load(CASES / "bimodal").frame()
    y, n = frame["y"].to_numpy(), len(frame)
    X = np.column_stack([np.ones(n), frame["x"]])
    Z = np.equal.outer(frame["group"].to_numpy().astype(str), np.array(list("12345"))).astype(float)
    H = np.eye(n) + theta**2 * Z @ Z.T
    XHX = X.T @ np.linalg.solve(H, X)
    e = y - X @ np.linalg.solve(XHX, X.T @ np.linalg.solve(H, y))
    r2, nu = e @ np.linalg.solve(H, e), n - 2
    logs = np.linalg.slogdet(H)[1] + np.linalg.slogdet(XHX)[1]
    assert logs + nu * (1 + np.log(2 * np.pi * r2 / nu)) == pytest.approx(published, abs=6e-6)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("profile = []", r"profile"),
        ("methods = []", r"methods"),
        ('versions = ","', r"is not like 'lme4 < 1.1-35'"),
        ("size = nan", r"size"),
    ],
)
def test_a_known_difference_that_says_nothing_is_refused(case, line: str, words: str) -> None:
    """It would never match, or match everything, and nobody would notice."""
    _edit(case, "rows = 3\n", "rows = 3" + KNOWN + line)
    with pytest.raises(CaseError, match=words):
        Case.load(case.folder)


def test_agreement_is_no_known_difference(case) -> None:
    """An entry that expects AGREE could never be gone."""
    _edit(case, "rows = 3\n", "rows = 3" + KNOWN.replace("WORSE_OPTIMUM", "AGREE"))
    with pytest.raises(CaseError, match="AGREE is no difference"):
        Case.load(case.folder)


@pytest.mark.parametrize(
    ("start", "words"),
    [("\ufeff", "byte order mark"), ("a = " + "[" * 5000, "nested"), ("a = " + "9" * 5000, "digits")],
)
def test_toml_that_only_a_machine_writes(case, start: str, words: str) -> None:
    """A byte order mark, endless brackets and endless integers would be tracebacks or riddles."""
    path = case.folder / "case.toml"
    path.write_text(start + "\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(CaseError, match=words):
        Case.load(case.folder)


def test_a_formula_that_cannot_be_read_names_the_case(case) -> None:
    """The fault would name a formula and no file."""
    text = (case.folder / "case.toml").read_text(encoding="utf-8")
    broken = "\n".join('formula = "y ~ (1 | g"' if t.startswith("formula") else t for t in text.split("\n"))
    (case.folder / "case.toml").write_text(broken, encoding="utf-8")
    with pytest.raises(CaseError, match=r"case\.toml: formula.*parenthesis"):
        Case.load(case.folder)


def test_agreement_is_expected_only_where_time_may_run_out(tmp_path):
    """A known difference could hide that there is none, or a fit near its limit fail on slow machines."""
    toml = (CASES / "insteval-shape" / "case.toml").read_text(encoding="utf-8")
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "case.toml").write_text(toml, encoding="utf-8")
    both = next(k for k in Case.load(folder).spec.known_difference if k.engine == "kamino-lme")
    assert [str(v) for v in both.verdicts] == ["AGREE", "TIMED_OUT"]
    (folder / "case.toml").write_text(toml.replace('["AGREE", "TIMED_OUT"]', '["AGREE"]'), encoding="utf-8")
    with pytest.raises(CaseError, match="AGREE is no difference"):
        Case.load(folder)

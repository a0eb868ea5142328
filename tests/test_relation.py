"""Relations: the same model in other words, and engines held to their own first answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bridge.catalogue import session
from bridge.cli import app
from bridge.commands.relations import relations
from bridge.consistency import chosen, consistency, retold
from bridge.entry import Entry
from bridge.errors import BridgeError
from bridge.relation import RELATIONS
from bridge.report.relations import page
from bridge.verdict import Verdict

NAMES = [relation.name for relation in RELATIONS]


@pytest.fixture(scope="module")
def rich() -> Entry:
    """A design to which every relation applies."""
    rng = np.random.default_rng(7)
    n, group = 120, np.repeat(np.arange(15), 8)
    x, arm = rng.normal(size=n), np.tile(["b", "a"], 60)
    slope = rng.normal(size=(15, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
    y = 1 + x + (arm == "a") * x + slope[group, 0] + slope[group, 1] * x + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "x": x, "arm": arm, "g": group})
    return Entry.of_data(frame, "y ~ x * arm + (x | g)", methods=("REML", "ML"))


def test_every_relation_changes_what_is_fitted(rich):
    """An image that is the original would make its relation hold whatever an engine does."""
    images = {one.relation.name: one for one in retold(rich, RELATIONS)}
    assert list(images) == NAMES
    for name, one in images.items():
        again = one.again.model
        same = (
            again.spelling.formula == rich.model.spelling.formula
            and again.data.equals(rich.model.data)
            and [t.levels for t in again.random] == [t.levels for t in rich.model.random]
        )
        assert not same, name


def test_numpy_gives_the_same_answer_in_all_words(rich):
    """A wrong transform of beta, G, BLUPs or logLik would call an exact engine inconsistent (or hide one)."""
    with session() as referee:
        found = consistency(referee, [rich], engines=["numpy"])
    assert [j.case.split()[-1] for j in found.judgements if j.fit.method == "ML"] == NAMES
    assert {j.verdict for j in found.judgements} == {Verdict.AGREE}
    for judgement in found.judgements:
        if judgement.rows:
            assert max(row.difference for row in judgement.rows) < 1e-7, judgement.name


@pytest.mark.parametrize(
    ("engine", "broken"),
    [
        ("moody:FirstRow", {"permuted-rows"}),
        ("moody:ByPosition", {"permuted-rows", "renamed-levels"}),
        ("moody:Additive", {"scaled-y"}),
    ],
)
def test_what_breaks_a_relation_is_found(fakes, rich, engine, broken):
    """An engine whose answer hangs on the order of rows or labels, or on units, would pass."""
    with session() as referee:
        found = consistency(referee, [rich], engines=[engine], methods=["ML"])
    wrong = {j.case.split()[-1] for j in found.judgements if j.verdict is Verdict.INCONSISTENT}
    assert wrong >= broken
    assert "multiplied-out" not in wrong
    assert found.exit_code == 1


def test_left_out_where_it_does_not_apply(sleepstudy):
    """Shifted x is another model under (x || g), log(y) has no image: both would be called wrong."""
    frame = sleepstudy.assign(Subject=sleepstudy.Subject.astype(str))
    entry = Entry.of_data(frame, "log(Reaction) ~ Days + (Days || Subject)")
    names = [one.relation.name for one in retold(entry, RELATIONS)]
    assert "scaled-y" not in names
    assert "multiplied-out" not in names
    (scaled,) = [one for one in retold(entry, RELATIONS) if one.relation.name == "scaled-x"]
    assert scaled.image.frame.Days.iloc[0] == 0  # halved, not shifted


def test_unknown_relation():
    """A name that is not there would run nothing and pass."""
    with pytest.raises(BridgeError, match=r"relation 'scaled': there is none.*scaled-y, scaled-x"):
        chosen(["scaled"])
    done = CliRunner().invoke(app, ["relations", "sleepstudy", "--relation", "scaled"])
    assert done.exit_code == 2


@pytest.mark.parametrize("case", ["sleepstudy", "orthodont"])
def test_engines_are_consistent_or_known_not_to_be(case, tmp_path):
    """A new release that starts to depend on units, labels or the order of rows would go unseen."""
    done = CliRunner().invoke(app, ["relations", case, "--store", str(tmp_path)])
    assert done.exit_code == 0, done.output


def test_comparisons_are_not_called_fits(rich):
    """The bar counts to a number of fits that the sentence at the end contradicts."""
    made: list[int] = []
    with session() as referee:
        found = consistency(
            referee,
            [rich],
            engines=["numpy"],
            methods=["ML"],
            watch=lambda done, total, _: made.append(total),
        )
    assert f"All {len(found.judgements)} comparisons (of {made[-1]} fits) as expected" in found.sentence
    assert len(found.judgements) < made[-1]


def test_the_page_counts_and_explains_what_is_broken(fakes, rich):
    """A violation that the page leaves out, or a relation that it does not say in words."""
    with session() as referee:
        found = consistency(referee, [rich], engines=["moody:FirstRow", "numpy"], methods=["ML"])
    written = page(found, "lmmbridge relations rich")
    for relation in RELATIONS:
        assert f"| {relation.name} | {relation.what} | {relation.follows} |" in written
    names = [name for name in NAMES if name in written.split("| engine |")[1].splitlines()[0]]
    assert names == NAMES
    bad = [j for j in found.judgements if j.verdict is Verdict.INCONSISTENT]
    assert f"{len(found.judgements)} comparisons, {len(bad)} of them inconsistent" in written
    assert "not yet explained" in written
    assert "| numpy | 0 of 1 |" in written


def test_the_page_says_under_which_settings(fakes, rich):
    """What only the tight settings break would be told of the engine as users call it."""
    with session() as referee:
        found = consistency(
            referee, [rich], engines=["moody:FirstRow"], methods=["ML"], profiles=("default", "tight")
        )
    rows = [line.split(" | ") for line in page(found, "lmmbridge relations rich").splitlines()]
    assert {row[2] for row in rows if row[1:2] == ["moody:FirstRow"]} == {"ML", "ML, tight"}


def test_help_says_the_relations_in_the_pages_words():
    """A user of --help and a reader of the page would learn different things."""
    said = " ".join(relations.__doc__.split())
    for relation in RELATIONS:
        assert f"- {relation.name}: {relation.what}" in said

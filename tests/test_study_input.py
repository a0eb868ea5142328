"""What is wrong with a study is one line, before work starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.errors import BridgeError, CaseError
from bridge.study.run import check
from tests.test_study import TEXT, study


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("replicates = 60", "replicates = 0", "replicates: 0: must be at least 1"),
        ("icc = [0.1, 0.5]", "icc = []", "grid.icc: has no values"),
        ("icc = [0.1, 0.5]", "icc = [0.1, 2.0]", "icc: 2.0: must be at most 1"),
        ("icc = [0.1, 0.5]", '"predictors.z.effect" = [1.0]', "the design has no 'z'"),
        ("icc = [0.1, 0.5]", "icc = [0.1, 0.1]", "two places have the same design"),
        ("icc = [0.1, 0.5]", "informative = [0.1]", "needs leaning"),
        ("seed = 7", "seed = 7\nestimands = ['q']", "'q' is no predictor"),
        ("seed = 7", "seed = 7\nformula = 'y ~ 1 + (1 | cluster)'", "has no x"),
        ("seed = 7", "seed = 7\nengines = ['lme5']", 'engines: engine "lme5": there is none'),
        ("seed = 7", "seed = 7\nengines = ['batch', 'batch']", "engines: 'batch' is named twice"),
        ('"no pooling"]', '"lm"]', "baselines: 'lm' is named twice"),
        (
            "seed = 7",
            "seed = 7\nenignes = 3",
            "enignes: unknown key; check its spelling or remove it (docs/studies",
        ),
        ("icc = [0.1, 0.5]", "informative = ['much']", "'much' is no number"),
        ("icc = [0.1, 0.5]", "informative = [[1, 2]]", "[1, 2] is no number"),
        ("seed = 7", "seed = 7\naudited = 100000", "audited: 100000: must be at most 1000"),
        ("sizes = [3, 4, 5, 6, 8, 9]", "sizes = [30]", "has one level"),
        ("sizes = [3, 4, 5, 6, 8, 9]", "sizes = [1, 2]", "not identified"),
        ("[3, 4, 5, 6, 8, 9]", "[1, 1, 1, 1, 1, 1]", "not identified"),
        ('kind = "binary"', 'kind = "normal"', "that are not drawn"),
    ],
)
def test_bad_input_is_one_line_before_work_starts(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A fault would be found after hours, or as a traceback."""
    assert old in TEXT
    with pytest.raises(BridgeError) as caught:
        check(study(tmp_path, TEXT.replace(old, new)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_cluster_has_no_arm_to_lean(tmp_path: Path) -> None:
    """The average over no treated cluster would be a traceback."""
    text = TEXT.replace("seed = 7", "seed = 7\nleaning = 'x'").replace("[3, 4, 5, 6, 8, 9]", "[30]")
    with pytest.raises(CaseError, match="leaning: x is 0 in the one cluster that there is"):
        check(study(tmp_path, text))


def test_designs_are_not_all_in_memory(tmp_path: Path) -> None:
    """The data of every design on the grid would be kept while they are checked."""
    import gc

    from bridge.model import Model

    asked = study(tmp_path, grid={"intercept": [float(i) for i in range(30)]})
    models = [x for x in gc.get_objects() if isinstance(x, Model)]  # of other tests, kept by caches
    before = {id(x) for x in models}
    assert len(check(asked).cells) == 30
    gc.collect()
    assert len([x for x in gc.get_objects() if isinstance(x, Model) and id(x) not in before]) < 15


def test_an_engine_that_can_fit_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study would end in a table of UNSUPPORTED, or refuse an engine that can fit a part of it."""
    from bridge.engines.numpy import Numpy

    monkeypatch.setattr(
        Numpy, "supports", lambda self, model, method: "ML only" if method == "REML" else None
    )
    with pytest.raises(CaseError, match="engines: numpy: ML only; take it out"):
        check(study(tmp_path, engines=("numpy",)))
    check(study(tmp_path, engines=("numpy",), methods=("REML", "ML")))


def test_an_engine_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study would end in a table of UNAVAILABLE."""
    from bridge import engines
    from bridge.errors import UnavailableError

    def gone(name: str) -> dict[str, str]:
        raise UnavailableError("R is not here")

    monkeypatch.setattr(engines, "versions", gone)
    with pytest.raises(UnavailableError, match="engines: lme4: R is not here"):
        check(study(tmp_path, engines=("lme4",)))

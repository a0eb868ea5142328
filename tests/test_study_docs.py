"""docs/studies.md: its study and its clusters' configurations are loaded by what reads them."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from bridge.study.run import check
from bridge.study.spec import Study
from tests.front import ROOT

TEXT = (ROOT / "docs" / "studies.md").read_text()


def block(language: str, word: str) -> str:
    """The block of a language that has a word in it."""
    found = [b for b in re.findall(rf"```{language}\n(.*?)```", TEXT, re.S) if word in b]
    assert len(found) == 1
    return str(found[0])


def test_the_study_on_the_page_can_be_run() -> None:
    """A user who copies it would get an error."""
    asked = Study.model_validate(tomllib.loads(block("toml", "schema")))
    ready = check(asked.model_copy(update={"engines": ("batch",)}))
    assert len(ready.cells) == 8
    assert asked.engines == ("batch", "lme4")


def test_slurm_configuration_makes_a_job() -> None:
    """dask-jobqueue would not read the page's configuration, or ask SLURM for something else."""
    pytest.importorskip("dask_jobqueue")
    import dask
    from dask_jobqueue import SLURMCluster

    said: dict[str, Any] = yaml.safe_load(block("yaml", "slurm"))
    slurm = said["jobqueue"]["slurm"]
    default = dask.config.get("jobqueue.slurm")
    assert set(slurm) <= set(default), "keys that dask-jobqueue does not know"
    with dask.config.set({"jobqueue.slurm": {**default, **slurm}}):
        cluster = SLURMCluster(scheduler_options={"dashboard_address": None, "host": "127.0.0.1"})
        script = cluster.job_script()
        cluster.close()
    for line in (
        "#SBATCH -J lmmbridge",
        "#SBATCH -p normal",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH -t 04:00:00",
    ):
        assert line in script
    assert "--nthreads 1 " in script
    assert "--nworkers 8 " in script
    assert "module load R\n" in script


def test_kubernetes_manifest_is_the_operators() -> None:
    """The operator of dask-kubernetes would refuse the page's manifest, or find no scheduler in it."""
    mine: dict[str, Any] = yaml.safe_load(block("yaml", "DaskCluster"))
    operator = pytest.importorskip("dask_kubernetes.operator")
    right = operator.make_cluster_spec(name="study", image="lmmbridge:latest", n_workers=4)
    for field in ("apiVersion", "kind"):
        assert mine[field] == right[field]
    assert mine["metadata"]["name"] == "study"

    assert set(mine["spec"]) <= set(right["spec"])
    for part in ("worker", "scheduler"):
        assert set(mine["spec"][part]) <= set(right["spec"][part])
        (container,), (theirs,) = (x["spec"][part]["spec"]["containers"] for x in (mine, right))
        assert container["name"] == theirs["name"]
        assert container["args"][:2] == ["dask", part]
    service, theirs = (x["spec"]["scheduler"]["service"] for x in (mine, right))
    assert service["selector"] == theirs["selector"]
    assert service["ports"][0] in [{**port} for port in theirs["ports"]]

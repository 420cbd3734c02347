"""The Ray engine gives the rows of the local one, and outlives its workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("ray")

import ray
from toy_study import computed, shards_made, toy

from fastki.errors import UsageError
from fastki.study.cells import StudyError
from fastki.study.local import LocalEngine
from fastki.study.ray_engine import RayEngine
from fastki.study.run import run_study

pytestmark = pytest.mark.filterwarnings("ignore")
NUMBERS = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A Ray on this machine whose workers find ``toy_study``."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield
    ray.shutdown()


def test_the_rows_are_the_local_ones_and_a_shard_is_put_once(tmp_path):
    study = toy(tmp_path, NUMBERS, groups=3)
    assert run_study(study, RayEngine()) == [{"product": 10 * number} for number in NUMBERS]
    assert (computed(tmp_path), shards_made(tmp_path)) == (list(NUMBERS), 1)
    assert run_study(study, LocalEngine(2)) == run_study(study, RayEngine())
    assert ray.is_initialized()  # It was ours to begin with, so it is left running.


def test_a_lost_worker_costs_only_its_unfinished_cells(tmp_path):
    study = toy(tmp_path, [1, 2, (3, "die once"), 4, 5])
    assert [row["product"] for row in run_study(study, RayEngine())] == [10, 20, 30, 40, 50]
    assert computed(tmp_path).count(3) == 2


def test_a_cell_that_kills_every_worker_says_so(tmp_path):
    rows = run_study(toy(tmp_path, [1, (2, "die")], groups=2), RayEngine())
    assert rows[0] == {"product": 10}
    assert rows[1]["error"].startswith("its worker was lost 3 times, last by ")


def test_a_mistake_in_the_function_is_shown(tmp_path):
    with pytest.raises(StudyError, match="number 3 is cursed"):
        run_study(toy(tmp_path, [1, (3, "raise")]), RayEngine())


def test_no_cluster_at_the_address():
    ray.shutdown()
    with pytest.raises(UsageError, match="no Ray cluster answers at --ray-address auto"):
        list(RayEngine("auto").run(None, []))

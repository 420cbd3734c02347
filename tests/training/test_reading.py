"""Worker processes: the same batches, clear errors, no JAX, and none of them left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE, launch, wait_until
from toy_source import ToySource

from fastki.errors import DataError
from fastki.training.reading import MAX_ATTEMPTS, Plan, Reader, Workers

MAKERS = Path(__file__).resolve().parents[1] / "makers"


def plan(numbers, source=0):
    numbers = np.array(numbers)
    return Plan(np.broadcast_to(source, numbers.shape), numbers, end=len(numbers))


def numbers_of(batch):
    return batch.batch.observation.state[:, 0].astype(int).tolist()


def test_a_batch_of_two_sources_has_each_example_in_its_row():
    reader = Reader((ToySource(50), ToySource(50, has_actions=False)))
    batch = reader.read(plan([5, 6, 7, 8], np.array([1, 0, 1, 0])))
    assert numbers_of(batch) == [5, 6, 7, 8]
    assert batch.has_actions.tolist() == [False, True, False, True]
    assert (len(batch), batch.end) == (4, 4)
    assert [batch.origin(row) for row in (0, 1)] == ["line 0 of the co-training file", "episode 0, frame 6"]


def test_workers_read_what_this_process_would_without_jax_and_not_here():
    with closing(Workers(Reader((ToySource(trouble="modules"),)), 2)) as workers:
        batch = workers.read(plan([7, 3]))
        here = Reader((ToySource(),)).read(plan([7, 3]))
        np.testing.assert_array_equal(batch.starts, here.starts)
        heavy, process = batch.batch.observation.state[0].tolist()
        assert heavy == 0
        assert process != os.getpid()


def test_errors_of_the_data_come_out_whole_and_the_worker_goes_on():
    with closing(Workers(Reader((ToySource(trouble="error", bad=3),)), 1)) as workers:
        with pytest.raises(DataError, match=r"^example 3 is damaged: mend it$"):
            workers.read(plan([1, 3]))
        assert numbers_of(workers.read(plan([4]))) == [4]


def test_a_bug_in_a_worker_shows_its_traceback():
    with closing(Workers(Reader((ToySource(trouble="bug", bad=3),)), 1)) as workers:
        with pytest.raises(RuntimeError, match=r"(?s)Traceback.*ZeroDivisionError: a bug"):
            workers.read(plan([3]))
        assert numbers_of(workers.read(plan([4]))) == [4]


def test_a_lost_worker_is_replaced_and_its_batch_read_again(tmp_path):
    source = ToySource(trouble="die once", bad=3, mark=str(tmp_path / "died"))
    with closing(Workers(Reader((source,)), 1)) as workers:
        assert numbers_of(workers.read(plan([3, 9]))) == [3, 9]
    assert (tmp_path / "died").exists()


def test_a_batch_that_takes_every_worker_down_is_told():
    with (
        closing(Workers(Reader((ToySource(trouble="die", bad=3),)), 1)) as workers,
        pytest.raises(DataError, match=f"lost {MAX_ATTEMPTS} times .*fewer num_workers"),
    ):
        workers.read(plan([3]))


SCRIPT = """
import multiprocessing, sys
sys.path.insert(0, {makers!r})
from toy_source import ToySource
from fastki.training.loader import Loader
from fastki.training.loader_config import LoaderConfig

if __name__ == "__main__":
    loader = Loader(ToySource(1000, trouble="slow"), LoaderConfig(batch_size=2, num_workers=2))
    next(loader)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    with loader:
        for batch in loader:
            pass
"""


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_parent(end, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(makers=str(MAKERS)))
    parent = launch(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    workers = [int(word) for word in parent.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(alive, workers))
    # Ctrl-C reaches the whole group; the others only the parent.
    (os.killpg if end == signal.SIGINT else os.kill)(parent.pid, end)
    _, errors = parent.communicate(timeout=PATIENCE)
    assert parent.returncode != 0
    assert errors.count("Traceback") == (end == signal.SIGINT)
    wait_until(lambda: not any(map(alive, workers)))

"""Batches of a run: the same whatever reads them, shared out among hosts, resumed to the bit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lerobot_maker import Clips, LeRobotFactory
from processes import PATIENCE
from toy_source import ToySource

from fastki.data import open_dataset
from fastki.errors import DataError, UsageError
from fastki.sequence.assemble import Assembler
from fastki.sequence.resize import resize_with_pad
from fastki.training.batch import Tally
from fastki.training.loader import Loader, open_loader
from fastki.training.loader_config import LoaderConfig
from fastki.training.source import open_windows

ROOT = Path(__file__).resolve().parents[2]


def taken(loader, count):
    """The numbers of the examples of the next batches, ``[count, B]``."""
    return np.array([batch.batch.observation.state[:, 0] for batch in itertools.islice(loader, count)]).astype(int)


def toy(size=100, **config):
    return Loader(ToySource(size), LoaderConfig(**{"batch_size": 8, **config}))


def test_epochs_follow_each_other_and_have_every_window_once():
    with toy(50, batch_size=5) as loader:
        epochs = taken(loader, 30).reshape(3, 50)
        assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(50))] * 3
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
        assert loader.steps_per_epoch == 10
        assert loader.epoch(next(loader)) == 3


@pytest.mark.parametrize("options", [{"num_workers": 1}, {"num_workers": 3}, {"prefetch": 0}, {"prefetch": 9}])
def test_the_order_does_not_depend_on_what_reads(options):
    with toy(seed=4) as one, toy(seed=4, **options) as other:
        np.testing.assert_array_equal(taken(one, 20), taken(other, 20))


def test_another_seed_is_another_order():
    with toy(seed=4) as one, toy(seed=5) as other:
        assert (taken(one, 10) != taken(other, 10)).any()


def test_hosts_share_out_every_batch():
    with toy(seed=1) as alone:
        whole = taken(alone, 12)
    for count in (2, 4):
        config = LoaderConfig(8, seed=1)
        shares = []
        for index in range(count):
            with Loader(ToySource(), config, process_index=index, process_count=count) as loader:
                shares.append(taken(loader, 12))
        np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


@pytest.mark.parametrize("after", [0, 1, 13, 14])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_where_it_stopped(after, workers):
    with toy() as loader:
        whole = taken(loader, 20)
    with toy() as first:
        taken(first, after)
        state = json.loads(json.dumps(first.get_state()))
    with toy(num_workers=workers) as second:
        second.set_state(state)
        np.testing.assert_array_equal(taken(second, 20 - after), whole[after:])


def test_going_back_in_the_same_loader_and_after_a_batch_that_others_followed():
    with toy() as loader:
        batches = list(itertools.islice(loader, 6))
        assert loader.get_state(batches[2])["examples"] == 24
        assert loader.get_state()["examples"] == 48
        expected = taken(loader, 2)
        loader.set_state(loader.get_state(batches[5]))
        np.testing.assert_array_equal(taken(loader, 2), expected)


def test_a_run_goes_on_with_another_batch_size():
    with toy(batch_size=8) as loader:
        whole = taken(loader, 10).ravel()
    with toy(batch_size=8) as first, toy(batch_size=4) as second:
        taken(first, 3)
        second.set_state(first.get_state())
        np.testing.assert_array_equal(taken(second, 14).ravel(), whole[24:])


@pytest.mark.parametrize(
    ("other", "what"),
    [({"seed": 1}, "seed 0 and this one is on 1"), ({"size": 90}, "data toy 100 and this one is on toy 90")],
)
def test_a_state_of_another_run_is_refused(other, what):
    with toy() as loader, toy(**other) as different, pytest.raises(UsageError, match=what):
        different.set_state(loader.get_state())


@pytest.mark.parametrize("state", [{}, {"examples": -1}, {"examples": "8"}, {"examples": True}])
def test_a_damaged_state_is_refused(state):
    with toy() as loader, pytest.raises(UsageError, match="state of the data is damaged"):
        loader.set_state(loader.get_state() | {"examples": None} | state)


def test_a_damaged_example_stops_the_run_with_its_own_words():
    for workers in (0, 1):
        source = ToySource(trouble="error", bad=3)
        with (
            Loader(source, LoaderConfig(8, num_workers=workers)) as loader,
            pytest.raises(DataError, match=r"^example 3 is damaged: mend it$"),
        ):
            taken(loader, 13)


def test_sizes_out_of_range_are_refused():
    for name, value in (("batch_size", 0), ("seed", -1), ("num_workers", -1), ("prefetch", -1), ("cache_bytes", -1)):
        with pytest.raises(UsageError, match=f"{name} {value} is out of range"):
            LoaderConfig(**{name: value})
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="cotrain_weight"):
            LoaderConfig(cotrain_weight=weight)
    with pytest.raises(UsageError, match="batch_size 8 can't be shared out among 3"):
        Loader(ToySource(), LoaderConfig(8), process_count=3)
    with pytest.raises(UsageError, match="process 2 of 2"):
        Loader(ToySource(), LoaderConfig(8), process_index=2, process_count=2)


def test_without_grain_the_install_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(DataError, match=r"needs grain: `pip install 'fastki\[train\]'`"):
        toy()


@pytest.fixture(scope="module")
def source(dataset, make):
    return open_windows(dataset, make())


def test_a_batch_of_real_examples_tells_where_each_is_from(dataset, make, source):
    with Loader(source, LoaderConfig(6)) as loader:
        given = next(loader)
    assert (len(given), given.end, given.has_actions.all()) == (6, 6, True)
    for row in range(6):
        episode, start = dataset[int(given.episodes[row])], given.starts[row : row + 1]
        alone, _ = make().batch(make().examples(episode, start))
        np.testing.assert_array_equal(given.batch.actions[row], alone.actions[0])
        for slot in alone.observation.images:
            np.testing.assert_array_equal(given.batch.observation.images[slot][row], alone.observation.images[slot][0])
        assert given.origin(row) == f"episode {episode.index}, frame {start[0]}"


def test_an_epoch_of_real_examples_has_every_window_once(dataset, make):
    source = open_windows(dataset, make(), images=False, episodes=[1, 3])
    with Loader(source, LoaderConfig(1)) as loader:
        seen = [(int(one.episodes[0]), int(one.starts[0])) for one in itertools.islice(loader, len(source))]
    spec = make().spec
    assert sorted(seen) == [(index, start) for index in (1, 3) for start in spec.starts(dataset[index]).tolist()]


def test_truncation_is_tallied_over_workers(dataset, make):
    def told(workers, **sizes):
        config = LoaderConfig(16, images=False, num_workers=workers)
        with Loader(open_windows(dataset, make(**sizes), images=False), config) as loader:
            for _ in range(8):
                next(loader)
            return loader.tally

    whole, cut, spread = told(0), told(0, max_token_len=85, truncate=True), told(2, max_token_len=85, truncate=True)
    assert whole.report() == "128 examples, none truncated"
    assert cut == spread
    assert 0 < cut.truncated <= cut.examples == 128
    assert f"{cut.fast_lost:,} tokens with loss" in cut.report()


def test_overflow_names_the_frame_and_the_mend(dataset, make):
    source = open_windows(dataset, make(max_token_len=60), images=False)
    words = r"episode \d, frame \d+ takes \d+ text tokens .* --max-token-len \d+ or more"
    with Loader(source, LoaderConfig(8)) as loader, pytest.raises(UsageError, match=words):
        next(loader)


def test_an_error_in_a_thread_comes_out_whole(source, monkeypatch):
    def fail(self, examples, *, images=True):
        raise DataError("a picture is damaged")

    monkeypatch.setattr(Assembler, "batch", fail)
    with Loader(source, LoaderConfig(8)) as loader, pytest.raises(DataError, match=r"^a picture is damaged$"):
        next(loader)


CONTINUED = """
import json, sys
sys.path.insert(0, {makers!r})
from toy_source import ToySource
from fastki.training.loader import Loader, open_loader
from fastki.training.loader_config import LoaderConfig

if __name__ == "__main__":
    with Loader(ToySource(100), LoaderConfig(8, num_workers=1)) as loader:
        loader.set_state(json.loads(sys.argv[1]))
        print(*[int(x) for _ in range(5) for x in next(loader).batch.observation.state[:, 0]])
"""


def test_another_process_goes_on_with_the_same_batches(tmp_path):
    with toy() as loader:
        taken(loader, 15)
        state = json.dumps(loader.get_state())
        expected = taken(loader, 5).ravel().tolist()
    script = tmp_path / "go_on.py"
    script.write_text(CONTINUED.format(makers=str(ROOT / "tests" / "makers")))
    run = subprocess.run([sys.executable, script, state], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert [int(word) for word in run.stdout.split()] == expected


def test_a_tally_adds_up():
    tally = Tally()
    batch = ToySource(has_actions=False).read(np.arange(4))
    tally.add(dataclasses.replace(batch, fast_lost=np.array([0, 2, 0, 0]), other_lost=np.array([0, 1, 5, 0])))
    tally.add(ToySource().read(np.arange(6)))
    assert tally == Tally(10, 4, 2, 2, 6)
    assert tally.report() == "10 examples, 2 truncated (20.00%): 2 tokens with loss and 6 others lost"


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_videos_are_read_at_random_in_a_worker(tmp_path, make, tokenizer, version):
    rng, clips = np.random.default_rng(0), Clips()
    episodes = [
        {name: rng.normal(size=(24, 8)).astype(np.float32) for name in ("action", "observation.state")}
        for _ in range(3)
    ]
    top = "observation.images.top"
    dataset = open_dataset(LeRobotFactory(tmp_path, clips)(episodes, version=version, videos=(top,)))
    assembler = dataclasses.replace(make(max_token_len=300), slots={"base_0_rgb": top})
    config = LoaderConfig(6, num_workers=1)
    with open_loader(dataset, assembler, config) as loader:
        given = next(loader)
    assert len(set(given.episodes.tolist())) > 1
    for row, (episode, start) in enumerate(zip(given.episodes.tolist(), given.starts.tolist(), strict=True)):
        picture = resize_with_pad(dataset[episode].images[top][start], 32, 32)
        np.testing.assert_array_equal(given.batch.observation.images["base_0_rgb"][row], picture)

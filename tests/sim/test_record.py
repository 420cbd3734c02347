"""Recording: what is kept, what is dropped, and what is left of a recording that was killed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("av")

from toy_world import ToyWorld

from fastki import open_dataset
from fastki.errors import DataError, UsageError
from fastki.sim.demonstrate import Style, demonstrate, episode_seed
from fastki.sim.record import Plan, record
from fastki.sim.recorded import read_recording
from fastki.sim.world import Setting

PLAN = Plan(("reach-v3", "push-v3"), Setting(("front",), 32, 8), Style(0.2, 3))


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "set"
    return out, record(out, PLAN, 4, opener=ToyWorld)


def test_only_what_solved_its_task_is_kept_and_the_rest_is_counted(whole):
    out, tallies = whole
    # Seeds 0, 1, 3, 4 can be solved, 2 and 5 can't.
    assert [dataclasses.astuple(tally) for tally in tallies] == [("reach-v3", 4, 5, 4), ("push-v3", 4, 5, 4)]
    dataset = open_dataset(out)
    assert (len(dataset), dataset.info.fps, dataset.info.preset) == (8, 10, "metaworld")
    assert [dataset[i].prompt for i in range(3)] == [
        "reach the red ball",
        "push the puck to the goal",
        "reach the red ball",
    ]
    found = read_recording(out)
    assert (found.setting, found.longest, found.seeds) == (
        PLAN.setting,
        dataset.info.lengths.max(),
        (0, 0, 1, 1, 3, 3, 4, 4),
    )
    assert not list(out.parent.glob(".*"))


def test_what_is_recorded_is_what_the_expert_wanted(whole):
    episode = open_dataset(whole[0])[0]
    attempt = demonstrate(ToyWorld("reach-v3", PLAN.setting), episode_seed(0, 0), PLAN.style)
    np.testing.assert_array_equal(episode.actions, attempt.actions)
    np.testing.assert_array_equal(episode.state, attempt.states)
    moved = np.diff(attempt.states[:, :3], axis=0) / 0.1
    assert 0.05 < np.abs(moved - attempt.actions[:-1, :3]).mean() < 0.5  # The noise, which is not in the actions.


def test_frames_after_the_task_is_solved():
    world = ToyWorld("reach-v3", PLAN.setting)
    lengths = [len(demonstrate(world, 0, Style(0.0, after)).actions) for after in (0, 3)]
    assert lengths[1] - lengths[0] == 3


def test_wandering_begins_anywhere_and_is_not_recorded():
    """At most two steps of a tenth away, every attempt its own way, the same each time; the way to the goal is left."""
    world = ToyWorld("reach-v3", PLAN.setting)
    attempts = [demonstrate(world, seed, Style(0.0, 0, 2)) for seed in range(30)]
    again = demonstrate(world, 7, Style(0.0, 0, 2))
    starts = np.stack([attempt.states[0, :3] for attempt in attempts])
    assert np.abs(starts).max() <= 0.2 + 1e-6
    assert 0.05 < starts.std() < 0.2
    np.testing.assert_array_equal(attempts[7].states, again.states)
    np.testing.assert_array_equal(demonstrate(world, 7, Style(0.0, 0, 0)).states[0], np.zeros(4))
    for attempt in attempts[:2]:
        world.reset(attempt.seed)
        np.testing.assert_allclose(attempt.states[-1] + 0.1 * attempt.actions[-1], world.goal, atol=0.15)


class Killed(ToyWorld):
    """Gives up in the sixth episode that it begins."""

    begun = 0

    def reset(self, seed):
        Killed.begun += 1
        if Killed.begun == 6:
            raise KeyboardInterrupt
        return super().reset(seed)


def test_killed_it_goes_on_to_the_same_dataset(tmp_path, whole):
    out = tmp_path / "set"
    Killed.begun = 0
    with pytest.raises(KeyboardInterrupt):
        record(out, PLAN, 4, opener=Killed)
    assert not out.exists()
    kept = sorted(path.name for path in tmp_path.glob(".set.recording/*/*.npz"))
    assert len(kept) == 5
    record(out, PLAN, 4, opener=Killed)
    assert Killed.begun == 11  # Ten attempts, one of them twice.
    assert files(out) == files(whole[0])


def test_several_processes_record_the_same(tmp_path, whole):
    record(tmp_path / "set", PLAN, 4, workers=2, opener=ToyWorld)
    assert files(tmp_path / "set") == files(whole[0])


def test_an_earlier_recording_with_other_options_is_not_mixed_in(tmp_path):
    Killed.begun = 2
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "set", PLAN, 4, opener=Killed)
    with pytest.raises(UsageError, match=r"another seed .*--overwrite"):
        record(tmp_path / "set", dataclasses.replace(PLAN, seed=1), 4, opener=ToyWorld)


def test_a_damaged_attempt_is_named(tmp_path):
    Killed.begun = 2
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "set", PLAN, 4, opener=Killed)
    (tmp_path / ".set.recording/reach-v3/000001.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"000001\.npz is damaged"):
        record(tmp_path / "set", PLAN, 4, opener=ToyWorld)


def test_a_folder_that_is_there_stays_unless_told(tmp_path):
    plan = dataclasses.replace(PLAN, tasks=("reach-v3",))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        record(tmp_path / "set", plan, 1, opener=ToyWorld)
    record(tmp_path / "set", plan, 1, overwrite=True, opener=ToyWorld)
    assert len(open_dataset(tmp_path / "set")) == 1


class Hopeless(ToyWorld):
    def step(self, action):
        super().step(action)
        return False


def test_an_expert_that_never_solves_it_does_not_go_on_for_ever(tmp_path):
    plan = dataclasses.replace(PLAN, tasks=("reach-v3",))
    with pytest.raises(UsageError, match=r"solved it 0 times in 25 attempts, 1 are wanted"):
        record(tmp_path / "set", plan, 1, opener=Hopeless)
    anyway = dataclasses.replace(plan, keep_failed=True)
    assert record(tmp_path / "set", anyway, 1, overwrite=True, opener=Hopeless)[0].solved == 0
    assert len(open_dataset(tmp_path / "set")[0]) == 40


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Setting(size=4), "--size 4"),
        (lambda: Setting(every=3), "--every 3 does not divide"),
        (lambda: Setting(cameras=("front", "front")), "--camera front,front"),
        (lambda: Plan(tasks=()), "names no task"),
        (lambda: Plan(seed=-1), "--seed -1"),
        (lambda: Plan(style=Style(noise=2.0)), "--noise 2.0"),
        (lambda: Plan(style=Style(wander=101)), "--wander 101"),
    ],
)
def test_numbers_out_of_range(make, said):
    with pytest.raises(UsageError, match=said):
        make()


def test_data_of_elsewhere_say_no_simulator(tmp_path):
    with pytest.raises(UsageError, match="fastki sim record"):
        read_recording(tmp_path)
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/fastki_sim.json").write_text('{"setting": {"size": "big"}}')
    with pytest.raises(DataError, match="is damaged"):
        read_recording(tmp_path)

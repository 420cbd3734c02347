"""A run of fastki, measured in the simulator that its data were recorded in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastki.data import Dataset, OpenOptions, open_with
from fastki.data.paths import as_path, is_remote
from fastki.errors import CheckpointError, UsageError
from fastki.evaluation.acting import Head, Sampling
from fastki.evaluation.live import LivePolicy
from fastki.evaluation.policy import find_policy, load_policy
from fastki.evaluation.reopen import run_of
from fastki.sim.closed_loop import ClosedLoop, LoopOptions, Progress, measure_closed_loop, recorded_actions, require_fit
from fastki.sim.metaworld import ACTION_NAMES, STATE_NAMES, MetaWorld, require_metaworld, require_task
from fastki.sim.record import Open
from fastki.sim.recorded import Recording, read_recording
from fastki.training.run_folder import RunFolder, read_config

SIMULATOR = "metaworld"


@dataclass(frozen=True)
class Place:
    """What is measured, and where.

    Attributes:
        checkpoint: folder of the step.
        run: folder of the run, None where the checkpoint lies apart from it.
        task: in the simulator.
        uri: the recorded dataset.
        recording: what it says of the simulator.
    """

    checkpoint: Path
    run: Path | None
    task: str
    uri: str
    recording: Recording


def parse_env(env: str) -> str:
    """The task of ``metaworld:TASK``.

    >>> parse_env("metaworld:reach-v3")
    'reach-v3'

    Raises:
        UsageError: no such simulator or task.
    """
    simulator, _, task = env.partition(":")
    if simulator != SIMULATOR or not task:
        raise UsageError(f"--env {env!r} is unknown: use {SIMULATOR}:TASK, such as {SIMULATOR}:reach-v3")
    require_task(task)
    return task


def find_place(run: Path, env: str, data: str | None) -> Place:
    """Where the policy of ``run`` acts: as its data, or ``data``, were recorded.

    Raises:
        CheckpointError: there is no run, or its data are not known.
        UsageError: no such task, or data that no simulator was recorded in.
    """
    task, checkpoint = parse_env(env), find_policy(run)
    folder = run_of(checkpoint)
    if folder is None and data is None:
        raise CheckpointError(f"{checkpoint} lies apart from its run: give the DATA that it was trained on")
    uri = data if data is not None else read_config(RunFolder(folder or run)).data.uri
    if uri.startswith("synthetic:") or is_remote(uri):
        raise UsageError(f"{uri} was not recorded in a simulator: --env needs a run on data of `fastki sim record`")
    recording = read_recording(as_path(uri))
    if task not in recording.prompts:
        raise UsageError(f"{uri} holds no {task}, but {', '.join(recording.prompts)}: choose one of them for --env")
    return Place(checkpoint, folder, task, uri, recording)


def evaluate_in(
    place: Place,
    heads: tuple[Head, ...] | None,
    sampling: Sampling,
    options: LoopOptions,
    *,
    films: bool = True,
    progress: Progress | None = None,
    opener: Open | None = None,
) -> ClosedLoop:
    """The success of each head (all, by default, that the policy was trained for) and of the floors.

    ``films``: keep what each head's first success and first failure looked like. ``opener`` opens the task, by default
    Meta-World's.

    Raises:
        UsageError: a head that it was not trained for, data of another robot, or Meta-World is missing.
    """
    if opener is None:
        require_metaworld()
    policy = load_policy(place.checkpoint, sampling)
    live = [LivePolicy(policy, head) for head in heads or policy.heads]
    for one in live:
        require_fit(one, place.recording, len(ACTION_NAMES), len(STATE_NAMES))
    dataset: Dataset = open_with(place.uri, OpenOptions())
    replayed = recorded_actions(dataset, place.recording.prompts[place.task])
    with (opener or MetaWorld)(place.task, place.recording.setting) as world:
        return measure_closed_loop(world, live, place.recording, replayed, options, films=films, progress=progress)

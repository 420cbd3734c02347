"""Recording an expert: attempts are kept one by one, and become a LeRobot dataset when there are enough."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fastki.config import to_plain
from fastki.data.extras import need
from fastki.data.formats.lerobot_write import Demonstration, Description, write_lerobot
from fastki.errors import UsageError
from fastki.files import atomic_folder, write_json
from fastki.orphans import end_with_parent
from fastki.sim.demonstrate import Style, demonstrate, episode_seed, load_attempt, save_attempt, was_solved
from fastki.sim.graphics import require_cameras
from fastki.sim.metaworld import ACTION_NAMES, ROBOT, STATE_NAMES, MetaWorld, require_metaworld, require_task
from fastki.sim.recorded import NAME, Recording
from fastki.sim.world import Demonstrator, Setting

Progress = Callable[[str, int, int], None]
Open = Callable[[str, Setting], AbstractContextManager[Demonstrator]]
"""Opens a task."""
_PLAN = "plan.json"
_MOST_WANDER = 100
_WAVE = 8  # Attempts a worker is given at once, so that the simulator is opened once for several.


@dataclass(frozen=True)
class Plan:
    """What is recorded.

    Attributes:
        tasks: such as "reach-v3"; each gets as many episodes.
        setting: how they are seen and stepped.
        style: how the expert is recorded.
        seed: of the episodes.
        keep_failed: also record attempts that did not solve the task.

    Raises:
        UsageError: a number out of range, or a task named twice.
    """

    tasks: tuple[str, ...] = ("reach-v3",)
    setting: Setting = Setting()  # noqa: RUF009
    style: Style = Style()  # noqa: RUF009
    seed: int = 0
    keep_failed: bool = False

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise UsageError(f"--task {','.join(self.tasks)} names no task or one twice")
        if not 0 <= self.seed < 10**6:
            raise UsageError(f"--seed {self.seed} is out of range: 0 to 999,999")
        if not 0 <= self.style.noise <= 1:
            raise UsageError(f"--noise {self.style.noise} is out of range: 0 to 1")
        if not 0 <= self.style.wander <= _MOST_WANDER:
            raise UsageError(f"--wander {self.style.wander} is out of range: 0 to {_MOST_WANDER} frames")


@dataclass(frozen=True)
class Tally:
    """How it went with a task.

    Attributes:
        task: its name.
        episodes: that are in the dataset.
        attempts: that this took.
        solved: of them.
    """

    task: str
    episodes: int
    attempts: int
    solved: int


def record(
    out: Path,
    plan: Plan,
    episodes: int,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    opener: Open | None = None,
) -> tuple[Tally, ...]:
    """Write a LeRobot v3.0 dataset of ``episodes`` demonstrations a task to ``out``; how it went, task by task.

    What is recorded so far lies in a hidden folder beside ``out``: the same call goes on from there, and gives the
    same dataset.

    Args:
        out: becomes the dataset's folder, whole or not at all.
        plan: what is recorded.
        episodes: of each task.
        workers: processes that record.
        overwrite: replace what is at ``out``, and what an earlier recording with another plan left.
        progress: told the task, how many episodes there are, and how many are wanted.
        opener: opens a task; by default Meta-World's.

    Raises:
        UsageError: ``out`` is there, an earlier recording to it had another plan, Meta-World or what it needs is
            missing, or the expert fails too often.
    """
    if opener is None:
        require_metaworld()
        for task in plan.tasks:
            require_task(task)
        require_cameras(plan.setting.cameras)
    need("av", extra="sim", what="and writing videos")
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: choose another --out, or replace it with --overwrite")
    parts = out.absolute().with_name(f".{out.absolute().name}.recording")
    _take_up(parts, plan, overwrite=overwrite)
    tallies, kept = [], []
    with _Crew(plan, parts, workers, opener or MetaWorld) as crew:
        for task in plan.tasks:
            tally, paths = _enough(crew, task, episodes, progress or (lambda *_: None))
            tallies.append(tally)
            kept.append(paths)
    with atomic_folder(out) as folder:
        _assemble(folder, plan, kept)
    shutil.rmtree(parts)
    return tuple(tallies)


def _take_up(parts: Path, plan: Plan, *, overwrite: bool) -> None:
    """Begin a recording, or go on with the one that was begun there."""
    plain = json.loads(json.dumps(to_plain(plan)))
    if (parts / _PLAN).is_file():
        before = json.loads((parts / _PLAN).read_text(encoding="utf-8"))
        other = [name for name in plain if before.get(name) != plain[name] and name != "tasks"]
        if other and overwrite:
            shutil.rmtree(parts)
        elif other:
            raise UsageError(
                f"{parts} holds what an earlier recording with another {', '.join(other)} left: give the same "
                "options to go on with it, or begin anew with --overwrite"
            )
    write_json(parts / _PLAN, plain)


@dataclass(eq=False)
class _Crew:
    """Those who record: this process, or several."""

    plan: Plan
    parts: Path
    workers: int
    opener: Open
    pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> _Crew:
        if self.workers > 1:
            self.pool = ProcessPoolExecutor(self.workers, get_context("spawn"), initializer=end_with_parent)
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def path(self, task: str, attempt: int) -> Path:
        return self.parts / task / f"{attempt:06d}.npz"

    def attempt(self, task: str, numbers: Sequence[int]) -> Iterator[None]:
        """Record those attempts that are not there yet, telling of each when it is."""
        missing = [number for number in numbers if not self.path(task, number).is_file()]
        work = partial(_record_some, self.plan, task, self.parts, self.opener)
        if self.pool is None:
            yield from _recording(self.plan, task, self.parts, self.opener, missing)
            return
        shares = [missing[start : start + _WAVE] for start in range(0, len(missing), _WAVE)]
        try:
            for count in self.pool.map(work, shares):
                yield from (None for _ in range(count))
        except BrokenProcessPool as error:
            raise UsageError("a process that recorded was ended: the same command goes on from there") from error


def _enough(crew: _Crew, task: str, episodes: int, progress: Progress) -> tuple[Tally, list[Path]]:
    """Attempts until there are so many episodes; the first of those that count, in order."""
    attempts, counted, solved = 0, list[Path](), 0
    most = 20 + 5 * episodes
    while len(counted) < episodes:
        wave = range(attempts, min(attempts + episodes - len(counted), most))
        if not wave:
            raise UsageError(
                f"{task}: the expert solved it {solved} times in {attempts} attempts, {episodes} are wanted: give less "
                "--noise, a smaller --every, or --keep-failed"
            )
        done = len(counted)
        for _ in crew.attempt(task, wave):
            done += 1
            progress(task, done, episodes)
        for number in wave:
            found = was_solved(crew.path(task, number))
            solved += found
            if found or crew.plan.keep_failed:
                counted.append(crew.path(task, number))
        attempts = wave.stop
        progress(task, len(counted), episodes)
    return Tally(task, len(counted), attempts, solved), counted


def _record_some(plan: Plan, task: str, parts: Path, opener: Open, numbers: Sequence[int]) -> int:
    return sum(1 for _ in _recording(plan, task, parts, opener, numbers))


def _recording(plan: Plan, task: str, parts: Path, opener: Open, numbers: Sequence[int]) -> Iterator[None]:
    if not numbers:
        return
    with opener(task, plan.setting) as world:
        for number in numbers:
            found = demonstrate(world, episode_seed(plan.seed, number), plan.style)
            save_attempt(found, parts / task / f"{number:06d}.npz", keep=found.solved or plan.keep_failed)
            yield None


def _assemble(folder: Path, plan: Plan, kept: Sequence[Sequence[Path]]) -> None:
    """The dataset, tasks taking turns, so that episodes held out by number are of all tasks."""
    order = [(task, path) for row in zip(*kept, strict=True) for task, path in zip(plan.tasks, row, strict=True)]
    recording = Recording.of(plan.tasks, plan.setting)
    names = {"action": ACTION_NAMES, "observation.state": STATE_NAMES}
    lengths, seeds = [], []

    def episodes() -> Iterator[Demonstration]:
        for task, path in order:
            attempt = load_attempt(path)
            lengths.append(len(attempt.actions))
            seeds.append(attempt.seed)
            columns = {"action": attempt.actions, "observation.state": attempt.states}
            images = {recording.key(name): pictures for name, pictures in attempt.images.items()}
            yield Demonstration(recording.prompts[task], columns, images)

    write_lerobot(folder, episodes(), Description(plan.setting.fps, ROBOT, names))
    done = dataclasses.replace(recording, longest=max(lengths), seeds=tuple(seeds))
    extra: dict[str, Any] = {**to_plain(plan.style), "seed": plan.seed}
    write_json(folder / NAME, {**done.to_plain(), "recorded_with": extra})

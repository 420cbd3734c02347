"""Whether a command begins a run or goes on with the one that its folder holds."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from typing import Any

from fastki.config import to_plain
from fastki.errors import UsageError
from fastki.training.config import TrainConfig
from fastki.training.hosts import first_process
from fastki.training.run_folder import RunFolder, read_config
from fastki.training.steps import find_steps

# What a run may change on its way, and what is found out when it begins.
_FREE = ("steps", "save.", "hosts.", "mesh.", "loader.num_workers", "loader.prefetch", "loader.cache_bytes")
_SCHEDULE = ("recipe.schedule.decay_steps", "recipe.schedule.warmup_steps")
_FOUND = ("sequence.max_token_len", "network.action_dim", "loader.images")
_SHOWN = 3


@dataclass(frozen=True)
class Beginning:
    """What a command does.

    Attributes:
        config: of the run.
        resumed: whether the folder holds the run already.
        step: of its newest checkpoint; None where there is none.
    """

    config: TrainConfig
    resumed: bool
    step: int | None = None


def begin(folder: RunFolder, asked: TrainConfig, *, resume: bool, overwrite: bool) -> Beginning:
    """A new run, or the one in ``folder``: by wish, or because it is the same.

    Of several processes all call it alike, and wait for each other before any writes.

    Args:
        folder: of the run.
        asked: the command's configuration.
        resume: go on with what the folder holds, its own configuration first; of ``asked`` only the steps count.
        overwrite: delete the run that the folder holds, and begin anew.

    Raises:
        UsageError: there is nothing to resume, or the folder holds another run; the message says how they differ.
    """
    if resume and overwrite:
        raise UsageError("--resume goes on with a run and --overwrite deletes it: give one of them")
    if not folder.exists():
        if resume:
            raise UsageError(f"there is no run in {folder.path} to resume: leave --resume out to begin one")
        return Beginning(asked, resumed=False)
    if overwrite:
        if first_process():
            _delete(folder)
        return Beginning(asked, resumed=False)
    stored = read_config(folder)
    if not resume and (found := differences(asked, stored)):
        shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        raise UsageError(
            f"{folder.path} holds another run ({shown}): --resume goes on with that one, --out FOLDER begins one "
            "elsewhere, --overwrite deletes it"
        )
    step = find_steps(folder.checkpoints).latest
    return Beginning(_continued(stored, asked), resumed=True, step=step)


def differences(asked: TrainConfig, stored: TrainConfig) -> list[str]:
    """``name theirs, not ours`` for everything that makes another run of it."""
    ours, theirs = _flat(to_plain(asked)), _flat(to_plain(stored))
    names = [name for name in ours | theirs if not name.startswith(_FREE)]
    if asked.steps != stored.steps:  # A schedule that spans the run goes with them.
        names = [name for name in names if name not in _SCHEDULE]
    return [
        f"{name} {theirs.get(name)}, not {ours.get(name)}"
        for name in names
        if ours.get(name) != theirs.get(name) and not (name in _FOUND and ours.get(name) in (None, True))
    ]


def _continued(stored: TrainConfig, asked: TrainConfig) -> TrainConfig:
    """The stored run with what may change as asked."""
    schedule = asked.recipe.schedule if asked.steps != stored.steps else stored.recipe.schedule
    loader = dataclasses.replace(
        stored.loader,
        num_workers=asked.loader.num_workers,
        prefetch=asked.loader.prefetch,
        cache_bytes=asked.loader.cache_bytes,
    )
    return dataclasses.replace(
        stored,
        steps=asked.steps,
        save=asked.save,
        hosts=asked.hosts,
        mesh=asked.mesh,
        loader=loader,
        recipe=dataclasses.replace(stored.recipe, schedule=schedule),
    )


def _delete(folder: RunFolder) -> None:
    """What a run wrote, and nothing else that someone keeps there."""
    for path in (folder.checkpoints, folder.tokenizer, folder.assets, folder.figures, folder.evaluation):
        shutil.rmtree(path, ignore_errors=True)
    for path in (*folder.path.glob("metrics.*"), folder.speed, folder.environment, *folder.path.glob("nonfinite.*")):
        path.unlink(missing_ok=True)
    folder.config.unlink()


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat

"""Small training runs of the toy model, as a loop would drive them: one process of them, options as JSON.

``python toy_training.py '[{"folder": …, "steps": 20, …}, …]'`` prints a JSON line for each run, with its losses and a
digest of every bit of the state at the end. A run with a folder saves there, goes on from there, and appends each
step's metrics to ``folder/metrics.jsonl`` as exact hexadecimal floats.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from toy_model import quiet_loss, toy_batch, toy_loss, toy_params

from fastki.config import from_plain
from fastki.training.checkpoint import Checkpoints, Keep
from fastki.training.hosts import Hosts, any_process, hosts_of, join, leave
from fastki.training.interruption import Interruption
from fastki.training.mesh import MeshOptions, abstract, check_batch, make_mesh, place_batch, tree_shardings
from fastki.training.recipe import Recipe
from fastki.training.schedule import Schedule
from fastki.training.state import TrainState, create_state
from fastki.training.step import compile_step, make_step

SCHEDULE = Schedule("cosine", peak_lr=2e-2, warmup_steps=3, decay_steps=50, decay_lr=1e-3)


@dataclass(frozen=True)
class ToyRun:
    """What a run of the toy model is told.

    Attributes:
        folder: of checkpoints and metrics; None saves nothing.
        devices: that the mesh takes, the first so many; None takes all.
        pause: seconds to wait after each step, so that a test can kill it within.
    """

    steps: int = 20
    folder: str | None = None
    save_every: int = 5
    rows: int = 16
    fsdp: int = 1
    devices: int | None = None
    lora: bool = False
    quiet: bool = False
    recipe: Recipe = field(default_factory=lambda: Recipe(schedule=SCHEDULE))
    pause: float = 0.0


def digest(tree: Any) -> str:
    """Of every bit of a tree whose arrays this process can see whole or replicated."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        words = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        found.update(np.asarray(whole(words)).tobytes())
    return found.hexdigest()


def whole(array: Any) -> Any:
    """An array of several processes, gathered."""
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(array, tiled=True)
    return array


class ToyTrainer:
    """State, compiled step and mesh of a :class:`ToyRun`."""

    def __init__(self, run: ToyRun) -> None:
        self.run = run
        options = MeshOptions(fsdp=run.fsdp, replicate_below=64)
        self.mesh = make_mesh(options, jax.devices()[: run.devices])
        check_batch(run.rows, run.recipe.accumulate, self.mesh)

        def create() -> TrainState:
            return create_state(run.recipe, toy_params(lora=run.lora), jax.random.key(7))

        shapes = jax.eval_shape(create)
        shardings = tree_shardings(shapes, self.mesh, options)
        self.target = abstract(shapes, shardings)
        self.state = jax.jit(create, out_shardings=shardings)()
        loss = quiet_loss if run.quiet else toy_loss
        self.step = compile_step(make_step(loss, run.recipe, self.mesh, options), shardings, self.mesh)

    def take(self, number: int) -> dict[str, float]:
        """One step on the batch of that number; its metrics."""
        batch = toy_batch(number, self.run.rows)
        rows = self.run.rows // jax.process_count()
        first = rows * jax.process_index()
        mine = {name: array[first : first + rows] for name, array in batch.items()}
        self.state, metrics = self.step(self.state, place_batch(mine, self.mesh))
        return {name: float(value) for name, value in metrics.items()}

    def cut(self) -> float:
        """Bytes that a device holds of parameters, moments and averages, as a share of all."""
        leaves = jax.tree.leaves((self.state.params, self.state.opt_state, self.state.ema_params))
        return sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves) / sum(leaf.nbytes for leaf in leaves)


def train(run: ToyRun) -> dict[str, Any]:
    """The whole run, from its newest checkpoint on; what there is to say of it."""
    trainer = ToyTrainer(run)
    if run.folder is None:
        losses = [trainer.take(number)["loss"] for number in range(run.steps)]
        return {"losses": losses, "digest": digest(trainer.state), "cut": trainer.cut()}
    folder, start, losses = Path(run.folder), 0, []
    with Checkpoints(folder / "checkpoints", Keep(2)) as checkpoints, Interruption() as interruption:
        if restored := checkpoints.restore(trainer.target):
            trainer.state, start = restored.state, restored.loader["next"]
        for number in range(start, run.steps):
            metrics = trainer.take(number)
            checkpoints.check()
            losses.append(metrics["loss"])
            note(folder, {"step": number} | {name: value.hex() for name, value in metrics.items()})
            stop = any_process(interruption.requested)
            if (number + 1) % run.save_every == 0 or stop:
                checkpoints.save(trainer.state, loader={"next": number + 1})
            if stop:
                break
            time.sleep(run.pause)  # So that a test finds the run between two steps.
    said = {"losses": losses, "digest": digest(trainer.state), "step": int(trainer.state.step), "start": start}
    return said | {"ignored": checkpoints.ignored}


def note(folder: Path, row: dict[str, Any]) -> None:
    """A line for whoever watches, on disk at once."""
    if jax.process_index() == 0:
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    join(hosts_of(Hosts()), patience=20)
    for told in json.loads(sys.argv[1]):
        sys.stdout.write(json.dumps(train(from_plain(ToyRun, told))) + "\n")
        sys.stdout.flush()
    leave()

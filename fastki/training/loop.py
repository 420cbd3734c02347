"""A run of training: data, step, log, save. Everything that it decides is decided elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import jax

from fastki.errors import UsageError
from fastki.model.checkpoint import LoadReport
from fastki.model.params import Definition, Params, abstract_model
from fastki.training.batch import TrainingBatch
from fastki.training.card import save_assets
from fastki.training.checkpoint import Checkpoints, Keep
from fastki.training.device import device_prefetch
from fastki.training.failure import note_failure
from fastki.training.gradients import Metrics
from fastki.training.hosts import any_process, first_process
from fastki.training.initial import initial_params
from fastki.training.interruption import Interruption
from fastki.training.loader import Loader, open_loader
from fastki.training.mesh import abstract, batch_sharding, check_batch, make_mesh, replicated, tree_shardings
from fastki.training.metrics import HELDOUT, MetricsLog
from fastki.training.objective import Given, make_objective
from fastki.training.prepare import Setup
from fastki.training.run_folder import RunFolder
from fastki.training.space import check_space, tree_bytes
from fastki.training.state import TrainState, create_state, inference_params
from fastki.training.step import Step, compile_step, make_step
from fastki.training.stepping import Stepping
from fastki.training.waiting import Waiting


@dataclass(frozen=True)
class Speed:
    """Of the steps since the last line of the log.

    Attributes:
        step: the last of them.
        examples_per_second: on all hosts together.
        waiting: share of the time spent waiting for data.
        seconds: since the loop began, in this process.
    """

    step: int
    examples_per_second: float
    waiting: float
    seconds: float


class Watcher(Protocol):
    """Is told what happens; whatever it does with that, the loop waits for it."""

    def begun(self, first: int, last: int) -> None:
        """Steps ``first`` + 1 to ``last`` are to come."""

    def stepped(self, step: int, metrics: dict[str, float]) -> None:
        """A step's numbers."""

    def timed(self, speed: Speed) -> None:
        """A line of the log is due."""

    def evaluated(self, step: int, measured: dict[str, float]) -> None:
        """Measured on held-out episodes."""

    def saved(self, step: int) -> None:
        """A checkpoint is being written."""


class Evaluate(Protocol):
    """Measures parameters on held-out episodes, a number by name."""

    def __call__(self, params: Params) -> dict[str, float]: ...


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a run ended.

    Attributes:
        step: updates in all.
        params: for inference, on the device: averages where the run keeps them.
        interrupted: the signal that stopped it, None where it came to its end.
        loaded: where the first parameters are from, None for random ones or a resumed run.
        tally: what was given out and what was cut off, in words.
        ignored: checkpoints that could not be used → why.
    """

    step: int
    params: Params
    interrupted: str | None
    loaded: LoadReport | None
    tally: str
    ignored: dict[str, str]


@dataclass(frozen=True, eq=False)
class Machinery:
    """What is compiled and opened for a run."""

    setup: Setup
    folder: RunFolder
    definition: Definition
    mesh: jax.sharding.Mesh
    shardings: TrainState
    target: TrainState
    step: Step
    loader: Loader


def build(setup: Setup, folder: RunFolder) -> Machinery:
    """Everything but parameters: nothing is allocated on the devices yet.

    Raises:
        UsageError: batch, mesh or selection do not fit; or there is no room for checkpoints.
    """
    config = setup.config
    mesh = make_mesh(config.mesh)
    check_batch(config.loader.batch_size, config.recipe.accumulate, mesh)
    definition, shapes = abstract_model(setup.model, layout=setup.layout)
    state = jax.eval_shape(lambda params: create_state(config.recipe, params, jax.random.key(config.seed)), shapes)
    shardings = tree_shardings(state, mesh, config.mesh)
    shardings = dataclasses.replace(shardings, key=replicated(mesh), step=replicated(mesh))
    check_space(folder.checkpoints, (config.save.keep + 1) * tree_bytes(state))
    objective = make_objective(definition, setup.mode, setup.slots, config.augment)
    step = compile_step(make_step(objective, config.recipe, mesh, config.mesh), shardings, mesh)
    loader = _loader(setup)
    return Machinery(setup, folder, definition, mesh, shardings, abstract(state, shardings), step, loader)


class Unwatched:
    """A watcher that says nothing: all of it stands in the run's logs."""

    def begun(self, first: int, last: int) -> None:
        """Nothing."""

    def stepped(self, step: int, metrics: dict[str, float]) -> None:
        """Nothing."""

    def timed(self, speed: Speed) -> None:
        """Nothing."""

    def evaluated(self, step: int, measured: dict[str, float]) -> None:
        """Nothing."""

    def saved(self, step: int) -> None:
        """Nothing."""


def train(machinery: Machinery, watcher: Watcher | None = None, *, evaluate: Evaluate | None = None) -> Outcome:
    """Train to the configured number of steps, from the newest checkpoint where there is one.

    Args:
        machinery: of :func:`build`, or of a run that :func:`fastki.training.open_run.open_run` opened.
        watcher: is told how it goes.
        evaluate: measures held-out losses every ``save.eval_every`` steps and at the last.

    Raises:
        CheckpointError: a checkpoint can't be read or written.
        TrainingError: a loss or gradient is not finite.
        FastkiError: an example can't be read.
    """
    config, folder = machinery.setup.config, machinery.folder
    watcher = Unwatched() if watcher is None else watcher
    keep = Keep(config.save.keep, config.save.keep_period)
    with Checkpoints(folder.checkpoints, keep) as checkpoints, machinery.loader as loader, Interruption() as stop:
        begun = _begin(machinery, checkpoints)
        run = _Run(machinery, watcher, evaluate, checkpoints, begun)
        watcher.begun(begun.step, config.steps)
        with run:
            run.steps(loader, stop)
        params = inference_params(run.stepping.state)
        tally = loader.tally.report()
        return Outcome(run.stepping.done, params, stop.signal_name, begun.loaded, tally, checkpoints.ignored)


class _Run:
    """What is done about a run's steps: the logs, the checkpoints, the measurements."""

    def __init__(
        self, machinery: Machinery, watcher: Watcher, evaluate: Evaluate | None, checkpoints: Checkpoints, begun: _Begun
    ) -> None:
        self.machinery, self.watcher, self.evaluate, self.checkpoints = machinery, watcher, evaluate, checkpoints
        self.config = machinery.setup.config
        self.stepping = Stepping(self._step, begun.state, self._note, done=begun.step)
        self._timed = self._saved = begun.step
        self._waiting, self._began = Waiting(), time.perf_counter()
        self._since = self._began
        self._logs = contextlib.ExitStack()
        self._metrics: MetricsLog | None = None
        self._speed: MetricsLog | None = None

    def __enter__(self) -> _Run:
        if first_process():
            folder = self.machinery.folder
            self._metrics = self._logs.enter_context(MetricsLog(folder.metrics, step=self.stepping.done))
            self._speed = self._logs.enter_context(MetricsLog(folder.speed, step=self.stepping.done))
        return self

    def __exit__(self, *_: object) -> None:
        self._logs.close()

    def steps(self, loader: Loader, stop: Interruption) -> None:
        """Step by step until the end or a signal; the last state is saved."""
        save, batch = self.config.save, None
        batches = self._waiting.over(device_prefetch(loader, batch_sharding(self.machinery.mesh)))
        for batch in self.stepping.through(batches, self.config.steps):
            self.checkpoints.check()
            done = self.stepping.done
            ended = done >= self.config.steps
            # Before it is saved: a run that goes on from there has measured it already.
            if save.eval_every is not None and (ended or done % save.eval_every == 0):
                self._measure()
            if any_process(stop.requested) or ended:  # All save the same step then.
                break
            if done % save.every == 0:
                self._save(batch)
        if batch is not None:
            self._save(batch)

    def _step(self, state: TrainState, batch: TrainingBatch) -> tuple[TrainState, Metrics]:
        return self.machinery.step(state, Given(batch.batch, batch.has_actions))

    def _note(self, step: int, numbers: dict[str, float], batch: TrainingBatch) -> None:
        """Write down a step's numbers.

        Raises:
            TrainingError: they are not finite.
        """
        # Every host gets the same numbers, so that all of them stop together where one must.
        if not numbers.pop("finite"):
            note_failure(self.machinery.folder.path, step, numbers, batch, self.checkpoints.steps().latest)
        if self._metrics is not None:
            self._metrics.add({"step": step, **numbers})
        self.watcher.stepped(step, numbers)
        if step % self.config.save.log_every == 0:
            self._time(step)

    def _time(self, step: int) -> None:
        now = time.perf_counter()
        steps, self._timed = step - self._timed, step
        rate = steps * self.config.loader.batch_size / max(now - self._since, 1e-9)
        speed = Speed(step, rate, self._waiting.share, now - self._began)
        self._since = now
        self._waiting.reset()
        if self._speed is not None:
            self._speed.add(dataclasses.asdict(speed))
        self.watcher.timed(speed)

    def _save(self, batch: TrainingBatch) -> None:
        self.stepping.flush()
        if self.stepping.done == self._saved:
            return
        self._saved = self.checkpoints.save(
            self.stepping.state, loader=self.machinery.loader.get_state(batch), assets=self._assets
        )
        self.watcher.saved(self._saved)

    def _measure(self) -> None:
        self.stepping.flush()
        if self.evaluate is not None:  # All hosts measure the same together: each has a part of the parameters.
            measured = self.evaluate(inference_params(self.stepping.state))
            if self._metrics is not None:
                named = {f"{HELDOUT}{name}": value for name, value in measured.items()}
                self._metrics.add({"step": self.stepping.done, **named})
            self.watcher.evaluated(self.stepping.done, measured)
            self._waiting.reset()
            self._since = time.perf_counter()
            self._timed = self.stepping.done

    def _assets(self, folder: Path) -> None:
        save_assets(folder, self.machinery.setup)


class _Begun(NamedTuple):
    """The state to go on from, its step, and where new parameters are from."""

    state: TrainState
    step: int
    loaded: LoadReport | None


def _begin(machinery: Machinery, checkpoints: Checkpoints) -> _Begun:
    config = machinery.setup.config
    restored = checkpoints.restore(machinery.target)
    if restored is not None:
        if restored.step > config.steps:
            raise UsageError(f"{checkpoints.folder} is at step {restored.step}: give --steps {restored.step} or more")
        machinery.loader.set_state(restored.loader)
        return _Begun(restored.state, restored.step, None)
    params, loaded = initial_params(machinery.definition, config.init, config.seed, machinery.mesh, config.mesh)
    create = jax.jit(lambda params, key: create_state(config.recipe, params, key), out_shardings=machinery.shardings)
    return _Begun(create(params, jax.random.key(config.seed)), 0, loaded)


def _loader(setup: Setup) -> Loader:
    config = setup.config.loader
    if config.cotrain is not None and not setup.mode.fast:
        raise UsageError(f"--cotrain learns text, which --mode {setup.mode.name} does not: use --mode ki")
    hosts = jax.process_index(), jax.process_count()
    return open_loader(setup.dataset, setup.assembler, config, episodes=setup.train, hosts=hosts)

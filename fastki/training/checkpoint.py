"""Saving and restoring a run, on Orbax: whole or not at all, in the background, bit for bit.

A step's folder is written under another name and renamed when all of it is there, so that a killed run leaves its
earlier checkpoints and a folder that is known to be unfinished. The layout is described in
:mod:`fastki.training.steps`, the trees in :mod:`fastki.training.checkpoint_items`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from fastki.errors import CheckpointError, FastkiError, UsageError
from fastki.files import require_writable
from fastki.training.checkpoint_files import FilesSave, Writer
from fastki.training.checkpoint_items import to_items
from fastki.training.checkpoint_loader import loader_writer
from fastki.training.checkpoint_read import DAMAGE, Restored, read_checkpoint
from fastki.training.checksums import record_checksums
from fastki.training.state import TrainState
from fastki.training.steps import ASSETS, LOADER, Steps, find_steps, record_sizes, set_aside

_PATIENCE = 7200  # Seconds that a save in the background may take; openpi's.
_HALF = 150  # Characters of a reason's either end.
_APPENDED = re.compile(r" \[(?:tensorstore_spec|os_error_code|source locations)=")


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay.

    Attributes:
        newest: how many, at least 1. openpi keeps 1; here 2, lest damage to the one be the loss of all.
        period: those of steps that it divides stay for ever besides; None keeps no others. openpi's ``keep_period``,
            5000 there.

    Raises:
        UsageError: a value out of range.
    """

    newest: int = 2
    period: int | None = None

    def __post_init__(self) -> None:
        if self.newest < 1:
            raise UsageError(f"newest must be at least 1 checkpoint to keep, not {self.newest}")
        if self.period is not None and self.period < 1:
            raise UsageError(f"period must be at least 1 step, or none, not {self.period}")


class Checkpoints:
    """The checkpoints of one run in training; its one writer. All processes make and call it alike.

    A context manager: leaving it waits until the last save is whole.

    Attributes:
        folder: ``RUN/checkpoints``.
        ignored: name of a folder → why it was not used, as far as is known: unfinished, or damaged. Damaged ones are
            renamed to ``STEP.damaged``, unfinished ones removed.

    Raises:
        UsageError: the folder can't be written to.
        CheckpointError: it is a file.
    """

    def __init__(self, folder: Path, keep: Keep | None = None) -> None:
        keep = Keep() if keep is None else keep
        self.folder = folder.absolute()
        require_writable(self.folder)
        steps = find_steps(self.folder)
        self.ignored = dict(steps.ignored)
        self._set_aside(name for name, reason in steps.ignored.items() if name.isdigit() and "damaged" in reason)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep.newest,
            keep_period=keep.period,
            cleanup_tmp_directories=True,
            save_root_metadata=False,
            async_options=ocp.AsyncOptions(timeout_secs=_PATIENCE),
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise UsageError(f"{self.folder} can't be written ({error.strerror}): choose another --out") from error
        self._saving: int | None = None
        self._reader = ThreadPoolExecutor(1)
        self._summed: Future[None] | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def save(self, state: TrainState, *, loader: Any = None, assets: Writer | None = None) -> int:
        """Begin to save a state under its own step, and return that step.

        It returns when the arrays are copied off the devices, so that the state may be given to the next step at once.
        The rest goes on in the background; the oldest checkpoint goes when the new one is whole.

        Args:
            state: on any mesh.
            loader: this process's position in the data, plain JSON values.
            assets: writes what else inference needs into ``assets/``; called in the first process alone.

        Raises:
            CheckpointError: this save could not begin, the one before it failed, or the step is saved already.
        """
        self.finish()
        step = int(state.step)
        if step in find_steps(self.folder).usable:
            raise CheckpointError(f"{self.folder / str(step)} is saved already: train into another folder")
        items: dict[str, Any] = {name: ocp.args.PyTreeSave(tree) for name, tree in to_items(state).items()}
        if loader is not None:
            items[LOADER] = FilesSave(loader_writer(loader))
        if assets is not None:
            items[ASSETS] = FilesSave(assets if jax.process_index() == 0 else lambda _: None)
        self._saving = step
        with self._saving_errors():
            self._finish_checksums()  # Before older checkpoints go.
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        return step

    def check(self) -> None:
        """Let an error of the save in the background surface; called after each step, it costs next to nothing.

        Raises:
            CheckpointError: that save failed; the message has its step and reason. It is raised once.
        """
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.finish()

    def finish(self) -> None:
        """Wait for the save in the background.

        Raises:
            CheckpointError: it failed.
        """
        if self._saving is not None:
            with self._saving_errors():
                self._manager.wait_until_finished()
                if jax.process_index() == 0:
                    record_sizes(self.folder / str(self._saving))
                    self._summed = self._reader.submit(record_checksums, self.folder / str(self._saving))
            self._saving = None

    def _finish_checksums(self) -> None:
        """Wait for those of the last checkpoint, which are made in the background."""
        summed, self._summed = self._summed, None
        if summed is not None:
            try:
                summed.result()
            except OSError as error:
                raise CheckpointError(f"the checksums of {self.folder} could not be noted: {_reason(error)}") from error

    def close(self) -> None:
        """Wait for the save in the background, and let go of the folder.

        Raises:
            CheckpointError: that save failed.
        """
        try:
            self.finish()
            self._finish_checksums()
        finally:
            self._reader.shutdown()
            self._manager.close()

    def steps(self) -> Steps:
        """Those that lie in the folder now."""
        return find_steps(self.folder)

    def restore(self, target: TrainState) -> Restored | None:
        """The newest checkpoint that can be read, or None where the run has none yet.

        One process alone passes over a checkpoint whose arrays turn out to be damaged, and notes it in ``ignored``;
        several raise, since they might not agree.

        Args:
            target: of :func:`fastki.training.mesh.abstract`: the mesh may be another than the one it was saved on.

        Raises:
            MismatchError: it is of another model or recipe; all differences are listed.
            CheckpointError: there are checkpoints, and none can be read.
        """
        unread: list[str] = []
        for step in reversed(self.steps().usable):
            place = self.folder / str(step)
            try:
                restored = read_checkpoint(place, target)
            except DAMAGE as error:
                if jax.process_count() > 1:
                    message = f"{place} is damaged: {_reason(error)}: remove it to use the one before"
                    raise CheckpointError(message) from error
                self.ignored[place.name] = f"damaged: {_reason(error)}"
                unread.append(place.name)
            except OSError as error:
                raise CheckpointError(f"{place} can't be read: {_reason(error)}") from error
            else:
                self._set_aside(unread)  # Only now, with another to go on from.
                self._manager.reload()
                return restored
        if damaged := [f"{name} ({reason})" for name, reason in self.ignored.items() if "damaged" in reason]:
            raise CheckpointError(
                f"{self.folder} has no checkpoint that can be read: {'; '.join(damaged)}. Remove it to begin anew"
            )
        return None

    def _set_aside(self, names: Iterable[str]) -> None:
        """Rename damaged folders, in the first process, before any goes on."""
        if jax.process_index() == 0:
            for name in names:
                set_aside(self.folder / name)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("fastki: damaged checkpoints set aside")

    @contextlib.contextmanager
    def _saving_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, RuntimeError, FastkiError) as error:
            step, self._saving = self._saving, None
            raise CheckpointError(
                f"the checkpoint of step {step} could not be saved in {self.folder}: {_reason(error)}"
            ) from error


def _reason(error: BaseException) -> str:
    """An error in one line: what it was about and, at its end, why; without the specifications that storage appends."""
    text = " ".join(_APPENDED.split(str(error).strip().partition("\n")[0])[0].split())
    return f"{text[:_HALF]} … {text[-_HALF:]}" if len(text) > 2 * _HALF else text or type(error).__name__

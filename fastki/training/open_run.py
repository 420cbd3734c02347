"""A run from its configuration to where its first step can be taken: what the command, comparisons and notebooks do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastki.tokenizer import load_tokenizer
from fastki.training.begin import begin
from fastki.training.card import save_assets
from fastki.training.config import TrainConfig
from fastki.training.hosts import first_process, wait_for_all
from fastki.training.loop import Machinery, build
from fastki.training.prepare import Progress, Setup, prepare
from fastki.training.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class OpenRun:
    """A run that can be trained: ``train(run.machinery)``.

    Attributes:
        machinery: compiled and opened.
        resumed: whether its folder held it already.
        step: of the checkpoint that it goes on from; 0 where there is none.
    """

    machinery: Machinery
    resumed: bool
    step: int

    @property
    def setup(self) -> Setup:
        """What it is made of."""
        return self.machinery.setup

    @property
    def folder(self) -> RunFolder:
        """Where it lies."""
        return self.machinery.folder


def open_run(
    path: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> OpenRun:
    """Begin the run ``config`` in the folder ``path``, or go on with it where it is there already.

    Of several processes all call it alike; the first writes.

    >>> from fastki.training.loop import train
    >>> from fastki.training.presets import configured, preset
    >>> run = open_run(Path("runs/mine"), configured(preset("tiny"), {"steps": 800}, []))  # doctest: +SKIP
    >>> train(run.machinery).step  # doctest: +SKIP
    800

    Args:
        path: of the run's folder.
        config: such as a preset, with what :func:`fastki.training.presets.configured` changed of it.
        resume, overwrite: see :func:`fastki.training.begin.begin`.
        command: to be recorded; that of the process by default.
        progress: told of the reading of data.

    Raises:
        UsageError: the folder can't be written to or holds another run, or a value does not fit.
        DataError, TokenizerError: data or tokenizer can't be read or do not fit.
    """
    folder = RunFolder(path)
    folder.require_writable()
    beginning = begin(folder, config, resume=resume, overwrite=overwrite)
    wait_for_all("begun")
    kept = folder.assets / "tokenizer"
    stored = load_tokenizer(kept) if beginning.resumed and kept.is_dir() else None
    setup = prepare(beginning.config, tokenizer=stored, progress=progress)
    machinery = build(setup, folder)
    wait_for_all("prepared")  # Others read what is written now, where a run goes on.
    if first_process():
        folder.write_config(setup.config)
        folder.write_environment(list(sys.argv if command is None else command))
        save_assets(folder.assets, setup)
    return OpenRun(machinery, beginning.resumed, beginning.step or 0)

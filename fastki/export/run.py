"""One export from beginning to end: what it is of, whether there is room, writing, and reading again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fastki.errors import UsageError
from fastki.export.check import Compared, check_export
from fastki.export.lora import Progress, Weights, kept_by_openpi, merge_lora, nbytes
from fastki.export.notes import lerobot_notes, openpi_notes
from fastki.export.source import Source
from fastki.export.tensors import require_safetensors
from fastki.export.write import MANIFEST, Writer, write_lerobot, write_openpi
from fastki.files import atomic_folder, require_writable

System = Literal["openpi", "lerobot"]
SYSTEMS: tuple[System, ...] = ("openpi", "lerobot")
_WRITERS: dict[System, Writer] = {"openpi": write_openpi, "lerobot": write_lerobot}
_NOTES: dict[System, Callable[[Source], tuple[str, ...]]] = {"openpi": openpi_notes, "lerobot": lerobot_notes}


@dataclass(frozen=True)
class ExportOptions:
    """How an export is made.

    Attributes:
        system: that takes it.
        out: its folder.
        overwrite: replace an export that is there.
        check: read it again and compare.
    """

    system: System
    out: Path
    overwrite: bool = False
    check: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: of it.
        notes: what the other system can't do, or has to be told.
        compared: with what it was made of; empty where that was not asked for.
        nbytes: of all files.
    """

    folder: Path
    notes: tuple[str, ...]
    compared: tuple[Compared, ...]
    nbytes: int

    @property
    def same(self) -> bool:
        """Whether all that was compared is the same."""
        return all(row.same for row in self.compared)


def require_free(out: Path, *, overwrite: bool) -> None:
    """Refuse a place that can't be taken, before any work.

    Raises:
        UsageError: it is no folder, can't be written to, or holds something that may not be replaced.
    """
    require_writable(out / MANIFEST)
    if out.is_dir() and any(out.iterdir()):
        if not (out / MANIFEST).is_file():
            raise UsageError(f"{out} exists and holds no export: choose another --out")
        if not overwrite:
            raise UsageError(f"{out} holds an export: give --overwrite to replace it, or another --out")


def export(source: Source, options: ExportOptions, *, progress: Progress | None = None) -> Exported:
    """Write ``source`` as the system takes it, whole or not at all.

    Raises:
        UsageError: the place can't be taken or has no room, or a weight has no name there.
        DataError: the source's weights are damaged, or a library is missing.
    """
    report: Progress = progress or (lambda *_: None)
    require_free(options.out, overwrite=options.overwrite)
    if options.system == "lerobot":
        require_safetensors()
    weights = _weights(source, options.system, report)
    if weights:
        from fastki.training.space import check_space

        check_space(options.out, _needed(weights, options.system), what="the export needs", mend="make room")
    notes = _NOTES[options.system](source)
    given = dict(weights) if options.check else weights  # A writer lets go of what it has written.
    with atomic_folder(options.out) as folder:
        _WRITERS[options.system](folder, source, given, notes, str(options.out.absolute()), report)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    compared: list[Compared] = []
    if options.check:
        report("checking", 0, 1)
        compared = check_export(options.out, options.system, source, weights)
        report("checking", 1, 1)
    return Exported(options.out, notes, tuple(compared), size)


def _weights(source: Source, system: System, progress: Progress) -> Weights:
    """Of a policy as they are to be written; none of a tokenizer."""
    if source.card is None or source.checkpoint is None:
        return {}
    from fastki.export.weights import read_weights

    model = source.card.model
    weights = read_weights(source.checkpoint, model, source.card.layout, progress)
    keep = kept_by_openpi(model) if system == "openpi" else (False, False)
    return merge_lora(weights, model, keep)


def _needed(weights: Weights, system: System) -> int:
    """Bytes on the disk at most: LeRobot's are float32."""
    return nbytes(weights) if system == "openpi" else 5 * sum(value.size for value in weights.values())


def export_payload(source: Source, options: ExportOptions, done: Exported) -> dict[str, Any]:
    """The same for machines."""
    return {
        "to": options.system,
        "of": source.name,
        "step": source.step,
        "folder": os.fspath(done.folder),
        "bytes": done.nbytes,
        "assets": list(source.normalizers),
        "notes": list(done.notes),
        "compared": [vars(row) for row in done.compared],
        "same": done.same if options.check else None,
    }

"""A folder of plain files as one item of an Orbax checkpoint, whole or absent like the arrays beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

Writer = Callable[[Path], None]
"""Writes files into a folder that exists; called in a thread of its own while training goes on."""


class FilesHandler(ocp.AsyncCheckpointHandler):  # type: ignore[misc]
    """Calls a function with the item's folder. Files are read by whoever knows them: there is no restoring here."""

    async def async_save(self, directory: Any, args: Any) -> list[Any]:
        """Let ``args.write`` write into ``directory`` once that exists; the checkpoint waits for it."""
        work = asyncio.to_thread(args.write, Path(directory))
        return [ocp.future.CommitFutureAwaitingContractedSignals(work, name="fastki_files")]

    def save(self, directory: Any, args: Any) -> None:
        """The same in this thread."""
        args.write(Path(directory))

    def restore(self, directory: Any, args: Any = None) -> None:
        """Nothing: see :class:`FilesHandler`."""


@ocp.args.register_with_handler(FilesHandler, for_save=True)
@dataclass
class FilesSave(ocp.args.CheckpointArgs):  # type: ignore[misc]
    """What to save as a folder of files.

    Attributes:
        write: called in every process.
    """

    write: Writer


@ocp.args.register_with_handler(FilesHandler, for_restore=True)
@dataclass
class FilesRestore(ocp.args.CheckpointArgs):  # type: ignore[misc]
    """Orbax wants one of these for each handler."""

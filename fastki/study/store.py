"""Finished rows on disk, a file each, so that a study goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path

from fastki.files import write_text
from fastki.study.cells import Row, Study


class RowStore:
    """Rows of any number of studies in one folder, by :meth:`Study.key <fastki.study.cells.Study.key>`.

    A changed dataset or parameter has another key, so that no row can pass for another's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, study: Study, index: int) -> Row | None:
        """The row of a cell, or None where it isn't there or its file is damaged: it is then computed again."""
        path = self._path(study, index)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        row = document.get("row") if isinstance(document, dict) else None
        return row if isinstance(row, dict) else None

    def save(self, study: Study, index: int, row: Row) -> None:
        """Write a row, whole or not at all.

        Raises:
            UsageError: the folder can't be written to.
        """
        document = {"study": study.name, "cell": study.cells[index].parameters, "row": row}
        write_text(self._path(study, index), json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")

    def _path(self, study: Study, index: int) -> Path:
        return self.folder / f"{study.key(index)}.json"

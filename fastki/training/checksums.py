"""A CRC-32C of each file of a checkpoint: a byte that flipped on a disk is found before training goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

from fastki.files import write_text
from fastki.training.steps import read_record, saved_files

_NAME = "checksums.json"
_BLOCK = 1 << 24


def record_checksums(place: Path) -> None:
    """Note the checksum of each file of a step that has been saved whole; its files are read once."""
    sums = {file.relative_to(place).as_posix(): _checksum(file) for file in saved_files(place)}
    write_text(place / _NAME, json.dumps(sums))


def require_checksums(place: Path) -> None:
    """Compare the files of a step with what was noted, where it was: a killed run may not have come to it.

    Raises:
        ValueError: one is not what was saved.
        FileNotFoundError: one is gone.
    """
    noted = read_record(place / _NAME)
    if not isinstance(noted, dict):
        return
    for file in saved_files(place):
        name = file.relative_to(place).as_posix()
        if name in noted and _checksum(file) != noted[name]:
            raise ValueError(f"{name} is not what was saved: its checksum differs")


def _checksum(file: Path) -> int:
    import google_crc32c

    found = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found = google_crc32c.extend(found, block)
    return int(found)

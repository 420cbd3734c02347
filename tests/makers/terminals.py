"""A command's standard output and error, each on a pseudo-terminal or in a pipe of its own; Unix only."""

from __future__ import annotations

import os
import pty
import re
import select
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

ESCAPE = "\x1b"
_STYLE = re.compile(r"\x1b\[([0-9;]*)m")
_UNSET = ("NO_COLOR", "FORCE_COLOR", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS")


@dataclass(frozen=True)
class Said:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def on_a_terminal(words: Sequence[str], *, columns: int, **environment: str) -> Said:
    """Run a command whose standard output and error are terminals of so many columns."""
    return _run(words, [_Stream(*pty.openpty()) for _ in range(2)], {"COLUMNS": str(columns), **environment})


def in_a_pipe(words: Sequence[str], *, columns: int, **environment: str) -> Said:
    """The same with pipes, and a shell that says how wide its own terminal is."""
    return _run(words, [_Stream(*os.pipe()) for _ in range(2)], {"COLUMNS": str(columns), **environment})


def _run(words: Sequence[str], streams: Sequence[_Stream], environment: dict[str, str]) -> Said:
    from fastki.cli.main import run

    with pytest.MonkeyPatch.context() as patch:
        for name in _UNSET:
            patch.delenv(name, raising=False)
        for name, value in {"TERM": "xterm-256color", **environment}.items():
            patch.setenv(name, value)
        patch.setattr("sys.stdout", streams[0].file)
        patch.setattr("sys.stderr", streams[1].file)
        try:
            with pytest.raises(SystemExit) as stop:
                run(words)
        finally:
            texts = [stream.text() for stream in streams]
    return Said(int(stop.value.code or 0), *texts)


def without_styles(text: str) -> str:
    """The text without its colours and weights; other orders to the terminal stay."""
    return _STYLE.sub("", text)


def colours(text: str) -> list[str]:
    """The orders that set a colour: foregrounds, backgrounds, of 8, 16, 256 or all."""
    parts = [part for match in _STYLE.finditer(text) for part in re.split(r"(?<=;)(?=[34]8;)|;(?![25];)", match[1])]
    return [part for part in parts if re.match(r"(3[0-8]|4[0-8]|9[0-7]|10[0-7])(;|$)", part)]


class _Stream:
    """A terminal or a pipe, read as long as it is written to."""

    def __init__(self, ours: int, theirs: int) -> None:
        self.file = os.fdopen(theirs, "w", encoding="utf-8")
        self._ours = ours
        self._read = b""
        self._written = threading.Event()
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    def text(self) -> str:
        """All that was written; the writing end is closed."""
        self.file.close()
        self._written.set()
        self._reader.join()
        os.close(self._ours)
        return self._read.decode("utf-8").replace("\r\n", "\n")

    def _follow(self) -> None:
        """Until nothing more can come: a process that a command left behind may hold the writing end for ever."""
        while True:
            last = self._written.is_set()
            ready, _, _ = select.select([self._ours], [], [], 0 if last else 0.02)
            try:
                part = os.read(self._ours, 1 << 16) if ready else b""
            except OSError:  # Linux says so when the other side of a terminal is closed.
                return
            self._read += part
            if not part and (ready or last):
                return

"""What the documents tell people to type is what the commands take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from commands import COMMANDS

from fastki.cli.main import app
from fastki.training.presets import configured, preset

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "examples", "benchmarks", "tests")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
_SETTING = re.compile(r"--set ([\w.]+=[\w.:/-]+)")
_CALL = re.compile(rf"fastki ({'|'.join(sorted(COMMANDS, key=len, reverse=True))})\b([^`#|\n]*)")
_PLACEHOLDERS = {"a.b=c", "save.eval_every=N"}


def text_of(path: Path) -> str:
    """Lines that a backslash continues are one."""
    return re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))


def found(pattern: re.Pattern[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Each match's groups, and where it stands."""
    return [
        (str(path.relative_to(ROOT)), match.groups()) for path in DOCUMENTS for match in pattern.finditer(text_of(path))
    ]


SETTINGS = sorted({(where, words[0]) for where, words in found(_SETTING) if words[0] not in _PLACEHOLDERS})
CALLS = sorted({(where, *words) for where, words in found(_CALL) if "--" in words[1]})


def options_of(command: str) -> set[str]:
    """All that ``fastki COMMAND`` takes."""
    node = typer.main.get_command(app)
    for word in command.split():
        node = node.commands[word]
    options = {name for one in node.params for name in (*one.opts, *one.secondary_opts)}
    return options | {"--help"}


@pytest.mark.parametrize(("where", "setting"), SETTINGS)
def test_settings_are_of_the_configuration(where, setting):
    configured(preset("tiny"), {}, [setting])


@pytest.mark.parametrize(("where", "command", "rest"), CALLS)
def test_options_are_of_the_command(where, command, rest):
    assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", rest)) <= options_of(command)


def test_there_is_something_to_check():
    assert len(SETTINGS) > 10
    assert {command for _, command, _ in CALLS} >= {"fit", "train", "eval", "export", "sim record"}

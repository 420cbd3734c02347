"""What every command does on a terminal, in a pipe, and when told to be quiet."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import COMMANDS
from rich.cells import cell_len
from terminals import ESCAPE, colours, in_a_pipe, on_a_terminal, without_styles

from fastki.cli import main

COLUMNS = 60
RUNS = {
    "fit": ["wave.npz", "--bins", "20", "--vocab", "64"],
    "roundtrip": ["tok", "--atol", "1"],
    "sweep": ["wave.npz", "--bins", "20", "--vocab", "64,128", "--workers", "1"],
    "layouts": ["tok"],
    "inspect": ["wave.npz"],
    "train": [
        *["--data", "wave.npz", "--layout", "images-fast", "--no-images", "--steps", "2", "--batch-size", "2"],
        "--overwrite",
        *["--set", "network.size=dummy", "--set", "tokenizer.fit.tokenizer.vocab_size=64"],
    ],
    "eval": ["run", "--max-frames", "8"],
    "serve": ["run", "--port", "0", "--check"],
    "sim record": ["--episodes", "1", "--size", "32", "--every", "8", "--after", "0", "--overwrite"],
    "report": ["tok"],
    "doctor": [],
}
"""A quick call of every command."""
MOVING = ("memory ", "folder ", "results ", "compiled kernels ", "latency, ", "compiled in ")
"""Lines of ``doctor``, ``eval`` and ``serve`` that are never twice the same."""
LACKING = {"sim record": None if importlib.util.find_spec("metaworld") else "fastki[sim] is not installed"}
"""Why a command can't be run here."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, fitted_once, trained_once):
    """A folder with a recording and a tokenizer, which is the one that commands run in."""
    folder = tmp_path_factory.mktemp("manners")
    shutil.copytree(fitted_once, folder / "tok")
    shutil.copytree(trained_once, folder / "run")
    actions = np.cumsum(np.random.default_rng(0).normal(size=(160, 3)), axis=0)
    names = np.array(["a rather long name of a joint", "y", "z"])
    np.savez(folder / "wave.npz", actions=actions, episode_ends=np.array([60, 100, 160]), fps=20.0, names=names)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def piped(place):
    """Run a command, once a module, with standard output and error in pipes, 400 columns wide."""
    return functools.cache(lambda command: in_a_pipe([*runnable(command), *RUNS[command]], columns=400))


@pytest.fixture(scope="module")
def narrow(place, piped):
    """The same, after it, on a narrow terminal for someone who wants no colours."""

    @functools.cache
    def run(command):
        piped(command)
        return on_a_terminal([*runnable(command), *RUNS[command]], columns=COLUMNS, NO_COLOR="1")

    return run


def runnable(command: str) -> list[str]:
    """The words of a command, which is skipped where what it needs is not installed."""
    if LACKING.get(command):
        pytest.skip(LACKING[command])
    return command.split()


def figures(text: str) -> set[str]:
    """The words that hold a digit, as figures do, as far as no one would wrap them."""
    return {word for word in without_styles(text).split() if any(map(str.isdigit, word)) and len(word) < 16}


def prose(text: str) -> list[str]:
    """Lines that are no command and no path to copy."""
    return [line for line in without_styles(text).splitlines() if not line.startswith(("next: ", "wrote "))]


def test_every_command_is_looked_at():
    assert sorted(RUNS) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_gets_text_alone(piped, command):
    said = piped(command)
    assert said.code == 0, said.err
    assert said.out
    assert not {ESCAPE, "\r"} & {*said.out, *said.err}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_color_leaves_no_colour(narrow, command):
    said = narrow(command)
    assert said.code == 0, said.err
    assert colours(said.out) == colours(said.err) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_narrow_terminal_gets_every_figure_in_lines_that_fit(narrow, piped, command):
    said = narrow(command)
    assert [line for line in prose(said.out) if cell_len(line) > COLUMNS] == []
    wide = [line for line in piped(command).out.splitlines() if not line.startswith(MOVING)]
    assert figures("\n".join(wide)) - figures(said.out) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_what_moves_is_on_standard_error(narrow, command):
    said = narrow(command)
    assert ESCAPE not in without_styles(said.out)
    assert "\r" not in said.out


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_is_quiet_on_a_terminal_too(place, command):
    said = on_a_terminal([*runnable(command), *RUNS[command], "--quiet"], columns=COLUMNS)
    assert (said.code, said.out, said.err) == (0, "", "")


def test_quiet_with_json_is_the_object(place):
    said = on_a_terminal(["fit", *RUNS["fit"], "--quiet", "--json"], columns=COLUMNS)
    assert (said.code, said.err) == (0, "")
    assert isinstance(json.loads(said.out), dict)
    assert said.out.isascii()


def test_a_terminal_gets_colours_and_a_bar(place):
    """What the tests above look for is there where it should be."""
    said = on_a_terminal(["roundtrip", *RUNS["roundtrip"]], columns=100)
    assert colours(said.out)
    assert "encoding and decoding" in said.err
    assert ESCAPE in without_styles(said.err)


def test_an_error_is_red_one_line_and_for_no_colour_plain(place):
    red = on_a_terminal(["fit", "nowhere"], columns=30)
    assert colours(red.err)
    plain = on_a_terminal(["fit", "nowhere", "--quiet"], columns=30, NO_COLOR="1")
    assert (plain.code, plain.out, plain.err.count("\n")) == (2, "", 1)
    assert plain.err.startswith("error: nowhere: ")
    assert ESCAPE not in plain.err


def test_a_dumb_terminal_gets_no_bar(place):
    said = on_a_terminal(["fit", *RUNS["fit"]], columns=100, TERM="dumb")
    assert (said.code, said.err) == (0, "")


def test_forced_colours_do_not_force_a_bar_into_a_pipe(place):
    said = in_a_pipe(["roundtrip", *RUNS["roundtrip"]], columns=100, FORCE_COLOR="1")
    assert colours(said.out)
    assert said.err == ""


@pytest.mark.parametrize("name", ["red \x1b[31mname", "title \x1b]0;mine\x07", "c1 \x9b31m", "turned \u202eemit"])
def test_a_name_cannot_give_orders_to_the_terminal(place, name):
    np.savez(place / "odd.npz", actions=np.zeros((40, 1)) + np.arange(40)[:, None], names=np.array([name]))
    said = on_a_terminal(["inspect", "odd.npz"], columns=200)
    assert said.code == 0
    assert "\ufffd" in said.out
    assert not set(name) & set("\x1b\x07\x9b\u202e") & set(without_styles(said.out))
    refused = on_a_terminal(["inspect", name, "--quiet"], columns=200, NO_COLOR="1")
    assert refused.code == 2
    assert not set("\x1b\x07\x9b\u202e") & set(refused.err)


def test_output_that_is_no_utf8_is_no_error(place):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code = "from fastki.cli.main import run; run(['inspect', 'tok'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "16 ? 8" in done.stdout


def test_the_version_is_name_and_version_alone(place):
    said = on_a_terminal(["--version"], columns=COLUMNS)
    assert said.out == f"fastki {main.__version__}\n"
    assert said.err == ""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_narrow_terminal(place, command):
    said = on_a_terminal([*command.split(), "--help"], columns=COLUMNS)
    assert said.code == 0
    assert [line for line in without_styles(said.out).splitlines() if cell_len(line) > COLUMNS] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_completion_is_shown_for_every_shell(place, shell):
    code = "from fastki.cli.main import run; run(['--show-completion'])"
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code.replace("']", f"', {shell!r}]")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "_FASTKI_COMPLETE" in done.stdout


COMPLETED = {
    "fastki ": COMMANDS,
    "fastki fit ": ["synthetic:droid", "wave.npz", "tok"],
    "fastki roundtrip to": ["tok"],
    "fastki inspect ": ["tok", "synthetic:droid"],
    "fastki layouts --layouts images-fast,images-f": ["images-fast,images-fast-prompt"],
    "fastki layouts --model p": ["pi05"],
    "fastki layouts --text b": ["byte"],
    "fastki fit --robot a": ["auto", "aloha"],
    "fastki fit --norm z": ["zscore"],
    "fastki fit wav": ["wave.npz"],
}
"""A line, and what Tab offers among others."""


@pytest.fixture(scope="module")
def bash(place):
    """What bash offers at the end of a line, by the script that ``--show-completion`` prints."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("no bash on the path")
    binary = place.parent / "bin" / "fastki"
    binary.parent.mkdir(exist_ok=True)
    run = "from fastki.cli.main import run; run()"
    binary.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(run)} "$@"\n')
    binary.chmod(0o755)
    environment = {**os.environ, "PATH": f"{binary.parent}:{os.environ['PATH']}"}
    environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"

    def offered(line: str) -> list[str]:
        words = " ".join(map(shlex.quote, line.split(" ")))
        script = f"""
            eval "$(fastki --show-completion bash)"
            COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _fastki_completion fastki
            ((${{#COMPREPLY[@]}})) || COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run([program, "-c", script], capture_output=True, text=True, check=True, env=environment)
        assert done.stderr == ""
        return done.stdout.split()

    return offered


@pytest.mark.parametrize("line", COMPLETED)
def test_tab_completes(bash, line):
    assert set(COMPLETED[line]) - set(bash(line)) == set()


def test_completing_loads_no_heavy_library(place):
    heavy = "('numpy', 'jax', 'scipy', 'matplotlib', 'pyarrow', 'rich')"
    code = f"""
import sys
from fastki.cli import complete
for offer in (complete.data, complete.tokenizers_or_data, complete.layouts, complete.models, complete.robots):
    offer("")
print([name for name in {heavy} if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_hidden_and_unreadable_places_are_not_offered(place):
    from fastki.cli import complete

    Path(".hidden").mkdir(exist_ok=True)
    Path("bell\x07").mkdir(exist_ok=True)
    assert not {".hidden/", "bell\x07/"} & set(complete.data(""))
    assert complete.data("nowhere/") == []

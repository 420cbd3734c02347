"""The command line as a whole: help, version, one line an error, interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMANDS
from processes import PATIENCE, launch

import fastki
from fastki.cli import main
from fastki.errors import DataError

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_is_in_the_readme(cli, command):
    code, out, err = cli(*command.split(), "--help")
    assert (code, err) == (0, "")
    assert "Usage: fastki" in out
    assert f"fastki {command}" in README.read_text(encoding="utf-8")


def test_every_option_has_help():
    from typer.main import get_command

    top = get_command(main.app).commands
    inner = {
        f"{name} {inner}": command
        for name, group in top.items()
        for inner, command in getattr(group, "commands", {}).items()
    }
    for name, command in {**top, **inner}.items():
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, f"{name} {parameter.name}"


def test_no_command_prints_the_help(cli):
    code, out, _ = cli()
    assert code == 0
    assert all(f" {command.split()[0]} " in out for command in COMMANDS)


def test_version(cli):
    assert cli("--version") == (0, f"fastki {fastki.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fitt"], "fitt"),
        (["fit", "--norm", "foo"], "quantile"),
        (["fit", "--order", "foo"], "--order"),
        (["fit", "--bins", "many"], "--bins"),
        (["fit", "--vocab"], "--vocab"),
        (["fit", "--bin", "20"], "--bin"),
        (["fit", "--horizon", "0"], "--horizon"),
        (["roundtrip", "--stride", "0"], "--stride"),
        (["roundtrip", "--episodes", "foo"], "heldout"),
        (["roundtrip", "a", "b", "c"], "(c)"),
        (["inspect", "--tokens", "-1"], "--tokens"),
        (["--foo"], "--foo"),
    ],
)
def test_a_wrong_command_line_is_one_line_that_names_it(cli, arguments, said):
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert "--help`" in err


def test_debug_shows_the_traceback(cli):
    for arguments in (("--debug", "fit", "nowhere"), ("fit", "nowhere", "--debug")):
        with pytest.raises(DataError, match="nowhere"):
            cli(*arguments)


def test_an_error_of_several_lines_becomes_one(cli, monkeypatch):
    def fail(*_, **__):
        raise DataError("first\nsecond")

    monkeypatch.setattr("fastki.data.open.open_with", fail)
    code, _, err = cli("fit", "x.npy")
    assert (code, err) == (2, "error: first second\n")


def test_ctrl_c_leaves_without_a_word(cli, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastki.data.open.open_with", interrupt)
    assert cli("fit") == (130, "", "")


def test_ctrl_c_from_outside_leaves_no_half_written_folder(tmp_path):
    work = "run(['fit', 'synthetic:droid?episodes=3000'])"
    # A shell's background job ignores the signal; a foreground one does not.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; from fastki.cli.main import run; print('up', flush=True); {work}"
    process = launch(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, "Traceback" in err) == (130, "", False)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_had_enough_is_no_error(tmp_path):
    command = f"{sys.executable} -c 'from fastki.cli.main import run; run()' inspect synthetic:droid?episodes=2 --json"
    shell = subprocess.run(
        ["bash", "-c", f"{command} | true"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert shell.stderr == ""


def test_json_is_pure_in_a_process_of_its_own(tmp_path, recording):
    command = [sys.executable, "-c", "from fastki.cli.main import run; run()", "fit", str(recording), "--json"]
    done = subprocess.run([*command, "--bins", "30"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["bins"] == 30
    assert done.stderr == "note: skipped 1 episode shorter than the horizon 16\n"

"""``fastki serve`` as a user starts and ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from processes import PATIENCE, launch

pytest.importorskip("flax")
pytest.importorskip("websockets")

from terminals import ESCAPE
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fastki.serving.messages import pack, unpack

STARTED = "from fastki.cli.main import run; run()"
OBSERVATION = {
    "exterior_image_1_left": np.zeros((30, 40, 3), np.uint8),
    "wrist_image_left": np.zeros((30, 40, 3), np.uint8),
    "state": np.zeros(8),
    "prompt": "lift the yellow cube from the red tray",
}


class Started:
    """The command in a process of its own, whose output is read as it comes."""

    def __init__(self, *words: str) -> None:
        self.process = launch(
            [sys.executable, "-c", STARTED, "serve", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What it compiles it has to compile before it is asked, not to find among what other tests have compiled.
            env={**os.environ, "COLUMNS": "100", "JAX_ENABLE_COMPILATION_CACHE": "false"},
        )
        self.out = ""

    def wait_until_ready(self) -> int:
        """Read up to the line that says where it listens; the port."""
        for line in self.process.stdout:
            self.out += line
            if found := re.match(r"listening on ws://127\.0\.0\.1:(\d+); Ctrl-C ends it$", line):
                return int(found[1])
        raise AssertionError(self.process.stderr.read())

    def end(self, number: int) -> tuple[int, str, str]:
        """Exit code, all output, and errors."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, self.out + out, err


@pytest.fixture
def started(trained_once):
    return Started(str(trained_once), "--port", "0", "--metadata", "reset_pose=[0,0.5]")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_it_serves_on_this_machine_alone_until_it_is_told_to_end(started):
    port = started.wait_until_ready()
    for other in ("127.0.0.2", "::1"):
        with pytest.raises(OSError, match=r"refused|unavailable|assign|unreachable|supported"):
            socket.create_connection((other, port), timeout=5)
    with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        assert unpack(client.recv())["reset_pose"] == [0, 0.5]
        client.send(pack(OBSERVATION))
        first = unpack(client.recv())
        client.send(pack({**OBSERVATION, "state": np.zeros(3)}))
        assert "the state has shape [3]" in client.recv()
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(started.end, signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=PATIENCE)
            code, out, err = ended.result(PATIENCE)
    assert closed.value.rcvd.code == 1001
    assert code == 0
    assert first["actions"].shape == (16, 8)
    assert first["server_timing"]["infer_ms"] < 1000  # It was compiled before.
    assert f'WebsocketClientPolicy("127.0.0.1", {port})' in out
    assert "1 answered, 1 refused, of 1 client" in out
    assert re.search(r"latency +p50 [\d.]+ ms, p95 [\d.]+ ms", out)
    assert "was refused: the state has shape [3]" in err
    assert not {ESCAPE, "\r"} & {*out, *err}
    assert "Traceback" not in err


def test_check_acts_once_and_ends(cli, trained_once):
    code, out, err = cli(
        "serve", str(trained_once), "--port", "0", "--check", "--head", "fast", "--step", "2", "--json"
    )
    told = json.loads(out)
    assert (code, told["host"], told["metadata"]["head"]) == (0, "127.0.0.1", "fast")
    assert told["checkpoint"] == str(trained_once / "checkpoints" / "2")
    assert told["url"] == f"ws://127.0.0.1:{told['port']}"
    assert err == "compiling the policy …\n"


WRONG = [
    (["--step", "9"], "no checkpoint of step 9: it has 2, 3"),
    (["--host", "203.0.113.9"], "--host 203.0.113.9 can't be listened at"),
    (["--metadata", "place"], "--metadata 'place' must read NAME=VALUE"),
    (["--port", "70000"], "65535"),
    (["--head", "both"], "'both' is not one of 'flow', 'fast'"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[words[0] for words, _ in WRONG])
def test_a_mistake_is_one_line(cli, trained_once, words, said):
    code, out, err = cli("serve", str(trained_once), *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_port_that_is_in_use_is_said_before_the_policy_is_loaded(cli, trained_once, monkeypatch):
    monkeypatch.setattr("fastki.evaluation.policy.load_policy", lambda *_: pytest.fail("loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = cli("serve", str(trained_once), "--port", str(port))
    said = f"error: port {port} of 127.0.0.1 is in use: choose another, or a free one with --port 0\n"
    assert (code, out, err) == (2, "", said)


def test_without_a_run_there_is_nothing_to_serve(cli):
    code, _, err = cli("serve")
    assert (code, err) == (2, "error: no policy was trained here yet: run `fastki train`, or name a RUN\n")
    code, _, err = cli("serve", "nowhere")
    assert (code, err) == (2, "error: nowhere does not exist: give the folder of a run or checkpoint\n")


def test_what_only_the_server_needs_is_named_where_it_is_missing(cli, trained_once, monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets", None)
    code, _, err = cli("serve", str(trained_once))
    assert (code, err.count("\n")) == (2, 1)
    assert "pip install 'fastki[serve]'" in err


def test_the_status_line_says_how_it_goes():
    from fastki.report.serve_tables import tally_line
    from fastki.serving.tally import Tally

    tally = Tally()
    assert tally_line(tally) == "0 clients, 0 answered, 0 refused"
    for milliseconds in range(1, 101):
        tally.timed(milliseconds / 1000, milliseconds / 2000)
    tally.refused, tally.clients = 3, 1
    assert tally_line(tally) == "1 client, 100 answered, 3 refused, p50 50.5 ms, p95 95.0 ms"

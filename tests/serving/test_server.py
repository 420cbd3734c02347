"""The server as its clients meet it: openpi's own, and others that are less kind."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from openpi_driver import drive
from policy_server import serving
from processes import PATIENCE, wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fastki import __version__
from fastki.errors import DataError, UsageError
from fastki.serving import server as module
from fastki.serving.answers import Answer, Answerer
from fastki.serving.messages import pack, unpack
from fastki.serving.server import Place, bind

PROMPT = "place the red cube"
TALK = """
client = WebsocketClientPolicy("127.0.0.1", port)
answers = [client.infer(observation) for _ in range(2)]
try:
    client.infer({**observation, "observation/joint_position": np.zeros(6)})
    refusal = None
except RuntimeError as error:
    refusal = str(error)
answers.append(client.infer(observation))
np.savez(folder + "/actions.npz", *[answer["actions"] for answer in answers])
timings = [answer["server_timing"] for answer in answers]
print(json.dumps({"metadata": client.get_server_metadata(), "refusal": refusal, "timings": timings}))
"""
CROWD = """
from concurrent.futures import ThreadPoolExecutor
def ask(number):
    client = WebsocketClientPolicy("127.0.0.1", port)
    mine = {**observation, "observation/gripper_position": np.array([number / 8])}
    return [client.infer(mine)["actions"] for _ in range(5)]
with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(ask, range(8)))
np.savez(folder + "/actions.npz", actions=np.array(found))
"""


@pytest.fixture(scope="module")
def talk(server, observation, tmp_path_factory):
    """What openpi's client was told, and the actions that it got."""
    folder = tmp_path_factory.mktemp("talk")
    told = json.loads(drive(TALK, server[1], folder, observation))
    with np.load(folder / "actions.npz") as actions:
        return told, [actions[name] for name in actions]


def ws(port, **options):
    return connect(f"ws://127.0.0.1:{port}", compression=None, **options)


def test_openpis_client_is_told_what_the_policy_is(talk, live):
    told = talk[0]["metadata"]
    info = live.arm
    assert (told["fastki_version"], told["robot"], told["fps"]) == (__version__, "synthetic 7-joint arm", 15.0)
    assert (told["action_horizon"], told["action_dim"], told["head"]) == (16, 8, "flow")
    assert (told["action_names"], told["action_units"]) == (list(info.action_names), ["rad/s"] * 7 + ["fraction"])
    assert (told["state_names"], told["state_units"]) == (list(info.state_names), ["rad"] * 7 + ["fraction"])
    assert (told["cameras"], told["image_size"]) == (["exterior_image_1_left", "wrist_image_left"], 28)
    assert (told["prompt_needed"], told["previous_action_needed"]) == (True, False)
    assert "observation/wrist_image_left" in told["observation_keys"]["images"]["wrist_image_left"]
    assert ["observation/joint_position", "observation/gripper_position"] in told["observation_keys"]["state"]
    assert told["reset_pose"] == [0.0, 0.5]


def test_openpis_client_gets_what_the_policy_itself_gives(talk, expected):
    for actions in talk[1]:
        assert (actions.shape, actions.dtype) == ((16, 8), np.float32)
        np.testing.assert_array_equal(actions, expected)


def test_openpis_client_gets_the_servers_times(talk):
    first, second, _ = talk[0]["timings"]
    assert set(first) == {"infer_ms"}
    assert set(second) == {"infer_ms", "prev_total_ms"}
    assert 0 < first["infer_ms"] < second["prev_total_ms"] < 20_000


def test_openpis_client_hears_why_it_was_refused_and_goes_on(talk):
    assert talk[0]["refusal"].endswith("observation/joint_position has 6 numbers: 7 are needed")
    assert len(talk[1]) == 3  # The last of them on the same connection, afterwards.


def test_eight_of_openpis_clients_at_once_get_each_its_own(server, live, observation, tmp_path):
    drive(CROWD, server[1], tmp_path, observation)
    with np.load(tmp_path / "actions.npz") as found:
        actions = found["actions"]
    assert actions.shape == (8, 5, 16, 8)
    images = {camera: observation[f"observation/{camera}"] for camera in live.cameras}
    for number, chunks in enumerate(actions):
        state = np.append(observation["observation/joint_position"], number / 8)
        np.testing.assert_array_equal(chunks, np.broadcast_to(live.act(images, state, PROMPT), (5, 16, 8)))
    assert len(np.unique(actions[:, 0, 0, 0])) == 8


def test_the_wire_is_metadata_then_an_answer_a_message(server, observation, expected):
    with ws(server[1]) as client:
        assert unpack(client.recv())["head"] == "flow"
        client.send(pack({**observation, "prompt": PROMPT}))
        answer = unpack(client.recv())
    assert set(answer) == {"actions", "server_timing"}
    np.testing.assert_array_equal(answer["actions"], expected, strict=True)


@pytest.mark.parametrize(
    "message", ["some text", b"", b"\xc1", b"\x80\x04\x95", pack([1, 2]), pack({}), b"\x91" * 5000]
)
def test_a_message_that_is_no_observation_gets_text_and_the_connection_lives(server, observation, message):
    with ws(server[1]) as client:
        client.recv()
        client.send(message)
        refusal = client.recv()
        assert isinstance(refusal, str)
        assert "\n" not in refusal
        client.send(pack({**observation, "prompt": PROMPT}))
        assert unpack(client.recv())["actions"].shape == (16, 8)


def test_a_message_that_is_too_large_ends_that_connection_alone(live, observation):
    with serving(Answerer(live), Place(port=0, max_bytes=100_000)) as (_, port), ws(port) as other:
        other.recv()
        with ws(port) as client:
            client.recv()
            client.send(bytes(100_001))
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
            assert closed.value.rcvd.code == 1009
        other.send(pack({**observation, "prompt": PROMPT}))
        assert isinstance(other.recv(), bytes)


def test_health_is_told_over_plain_http(server):
    with urllib.request.urlopen(f"http://127.0.0.1:{server[1]}/healthz", timeout=10) as answer:
        assert (answer.status, answer.read()) == (200, b"OK\n")


def test_a_page_in_a_browser_may_not_connect(server):
    with pytest.raises(InvalidStatus, match="403"):
        ws(server[1], origin="http://evil.example")


def test_one_that_speaks_no_websocket_disturbs_no_one(server, observation, capfd):
    for noise in (b"\x00" * 100, b"GET / HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection(("127.0.0.1", server[1])) as other:
            other.sendall(noise)
    with ws(server[1]) as client:
        client.recv()
        client.send(pack({**observation, "prompt": PROMPT}))
        assert isinstance(client.recv(), bytes)
    assert capfd.readouterr().err == ""


class Slow:
    """An answerer that counts how many it answers at once, each for a while; a held one not before it may."""

    greeting = pack({})

    def __init__(self, seconds: float, *, held: bool = False) -> None:
        self.seconds, self.now, self.most = seconds, 0, 0
        self.begun, self.may_end = threading.Event(), threading.Event()
        if not held:
            self.may_end.set()

    def answer(self, message: bytes) -> Answer:
        self.now += 1
        self.most = max(self.most, self.now)
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        time.sleep(self.seconds)
        self.now -= 1
        return Answer({"actions": unpack(message)}, seconds=self.seconds)


def test_one_is_answered_at_a_time_and_the_rest_goes_on_meanwhile():
    slow = Slow(0.5, held=True)
    with serving(slow) as (running, port), ThreadPoolExecutor(3) as pool:

        def ask(number):
            with ws(port) as client:
                client.recv()
                client.send(pack(number))
                return unpack(client.recv())["actions"]

        answers = pool.map(ask, range(3))
        assert slow.begun.wait(PATIENCE)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as health:
            assert health.status == 200  # While the policy is at work.
        slow.may_end.set()
        assert list(answers) == [0, 1, 2]
        assert slow.most == 1
        tally = running.tally
        assert (tally.answered, tally.refused, tally.connected) == (3, 0, 3)
        assert tally.policy.p50 == 0.5
        assert tally.whole.p95 > 1  # Two others were answered before the last.


def test_who_comes_and_goes_is_told(live):
    with serving(Answerer(live)) as (running, port):
        with ws(port) as client:
            client.recv()
            client.send("hello")
            client.recv()
        wait_until(lambda: len(running.watcher.lines) >= 3)
    assert [line[0] for line in running.watcher.lines] == ["connected", "refused", "left"]
    assert (running.tally.refused, running.tally.clients) == (1, 0)


def test_more_clients_than_there_is_room_for_are_told_to_come_again(monkeypatch):
    monkeypatch.setattr(module, "MAX_CLIENTS", 1)
    with serving(Slow(0)) as (_, port), ws(port) as first:
        first.recv()
        with ws(port) as second, pytest.raises(ConnectionClosed) as closed:
            second.recv()
        assert closed.value.rcvd.code == 1013
        first.send(pack(3))
        assert unpack(first.recv())["actions"] == 3


def test_stopping_says_goodbye_also_to_one_that_waits_for_an_answer():
    slow = Slow(0.3)
    with serving(slow) as (running, port), ws(port) as idle, ws(port) as waiting:
        for client in (idle, waiting):
            client.recv()
        waiting.send(pack(1))
        assert slow.begun.wait(PATIENCE)
        running.stop()
        for client in (idle, waiting):
            with pytest.raises(ConnectionClosed) as closed:
                client.recv()
            assert closed.value.rcvd.code == 1001


def test_a_place_that_can_not_be_had_is_named():
    with bind(Place(port=0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is in use: choose another"):
            bind(Place(port=port))
    with pytest.raises(UsageError, match=r"--host 203\.0\.113\.9 can't be listened at"):
        bind(Place("203.0.113.9", 0))
    with pytest.raises(UsageError, match="--port 70000 is out of range"):
        Place(port=70000)


def test_no_name_of_the_servers_own_is_said_otherwise(live):
    with pytest.raises(DataError, match="--metadata robot is said by the server itself"):
        Answerer(live, extra={"robot": "mine"})
    with pytest.raises(DataError, match="can't be sent"):
        Answerer(live, extra={"it": object()})

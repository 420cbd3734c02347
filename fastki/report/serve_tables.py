"""What ``fastki serve`` says: where it listens, how to ask it, and how long requests took."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from rich.table import Table

from fastki.report.tables import counted, key_values
from fastki.serving.answers import Answerer
from fastki.serving.server import Place
from fastki.serving.tally import Quantiles, Tally

_EVERYWHERE = ("0.0.0.0", "::", "")


def serve_facts(checkpoint: Path, answerer: Answerer, seconds: float) -> Table:
    """What is served; ``seconds`` is what the first call took, compilation included."""
    policy = answerer.policy
    card, rate = policy.policy.card, "" if policy.fps is None else f" at {policy.fps:g} Hz"
    actions = f"{policy.horizon} × {policy.policy.action_dim}{rate}, native units, float32"
    pairs = [
        ("policy", f"{checkpoint}, {policy.head} head (--mode {card.mode})"),
        ("robot", policy.arm.robot or "unknown"),
        ("actions", actions),
        ("observations", answerer.keys.wanted or "none are looked at"),
        ("compiled in", f"{seconds:.1f} s"),
    ]
    return key_values(pairs)


def address(place: Place, port: int) -> str:
    """As a client that knows it by its URL gives it."""
    return f"ws://[{place.host}]:{port}" if ":" in place.host else f"ws://{place.host}:{port}"


def snippet(answerer: Answerer, place: Place, port: int) -> str:
    """How to ask it, in Python."""
    policy, keys = answerer.policy, answerer.keys
    host = socket.gethostname() if place.host in _EVERYWHERE else place.host
    at = f'"{address(Place(host), port)}"' if ":" in host else f'"{host}", {port}'
    lines = [f"        {json.dumps(names[0])}: picture,  # uint8 [h, w, 3]" for names in keys.cameras.values()]
    if keys.states:
        name = json.dumps(keys.states[0].keys[0])
        lines.append(f"        {name}: state,  # {policy.state_dim} numbers, native units")
    if policy.needs_previous:
        lines.append(f'        "previous_action": previous,  # {policy.policy.action_dim} numbers, native units')
    if policy.needs_prompt:
        lines.append('        "prompt": "what to do",')
    return "\n".join(
        [
            "from openpi_client.websocket_client_policy import WebsocketClientPolicy",
            "",
            f"policy = WebsocketClientPolicy({at})",
            "answer = policy.infer(",
            "    {",
            *lines,
            "    }",
            ")",
            f'actions = answer["actions"]  # [{policy.horizon}, {policy.policy.action_dim}]',
        ]
    )


def serve_payload(answerer: Answerer, checkpoint: Path, place: Place, port: int) -> dict[str, Any]:
    """``checkpoint``, ``host``, ``port``, ``url``: what is served and where; ``metadata``: what clients are told."""
    return {
        "checkpoint": str(checkpoint),
        "host": place.host,
        "port": port,
        "url": address(place, port),
        "metadata": answerer.metadata,
    }


def tally_table(tally: Tally) -> Table:
    """What was done, when it is over."""
    refused = f", {tally.refused:,} refused" if tally.refused else ""
    pairs = [("requests", f"{tally.answered:,} answered{refused}, of {counted(tally.connected, 'client')}")]
    if tally.answered:
        pairs += [("latency", _times(tally.whole)), ("of that, the policy", _times(tally.policy))]
    return key_values(pairs)


def tally_line(tally: Tally) -> str:
    """How it goes, in one line."""
    times = f", {_times(tally.whole)}" if tally.answered else ""
    return f"{counted(tally.clients, 'client')}, {tally.answered:,} answered, {tally.refused:,} refused{times}"


def _times(times: Quantiles) -> str:
    assert times.p50 is not None, "something was timed"
    assert times.p95 is not None, "something was timed"
    return f"p50 {times.p50 * 1e3:.1f} ms, p95 {times.p95 * 1e3:.1f} ms"

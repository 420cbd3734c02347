"""``fastki serve``."""

from __future__ import annotations

import enum
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastki.cli.options import OUT, Json, Quiet
from fastki.cli.serve_live import Following, status
from fastki.cli.terminal import Terminal, announce_compilation
from fastki.errors import UsageError

if TYPE_CHECKING:
    from socket import socket

    from fastki.serving.answers import Answerer
    from fastki.serving.server import Place

_RUN = OUT / "train"  # Where `fastki train` leaves its run.
_MIB = 1 << 20


class ServedHead(enum.StrEnum):
    """Which of the two ways to act."""

    flow = "flow"
    fast = "fast"


def serve(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of one of its checkpoints.", metavar="RUN")] = _RUN,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in: there is no password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    head: Annotated[
        ServedHead | None, typer.Option(help="Act by flow, or by FAST tokens.", show_default="flow where it was learnt")
    ] = None,
    step: Annotated[int | None, typer.Option(help="Checkpoint of the run.", min=0, show_default="the newest")] = None,
    num_steps: Annotated[int, typer.Option(help="Euler steps of the flow.", min=1)] = 10,
    temperature: Annotated[float, typer.Option(help="Of FAST tokens; 0 takes the likeliest.", min=0)] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the noise and the tokens.", min=0)] = 0,
    prompt: Annotated[str | None, typer.Option(help="Instruction of observations that come without one.")] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE that clients are told besides, such as reset_pose=[0,0.5]; may be repeated."),
    ] = None,
    max_message_mb: Annotated[int, typer.Option(help="Largest message that is taken, MiB.", min=1, max=1024)] = 64,
    check: Annotated[
        bool, typer.Option("--check", help="Load, compile and act once, say so, and end without listening.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve a trained policy to robots and simulators, by the protocol of openpi's client."""
    from fastki.data.extras import need

    terminal = Terminal(as_json=as_json, quiet=quiet)
    for library in ("flax", "optax", "orbax.checkpoint"):
        need(library, extra="train", what="a trained policy")
    for library in ("websockets", "msgpack"):
        need(library, extra="serve", what="observations from the network")
    from fastki.evaluation.live import LivePolicy
    from fastki.evaluation.policy import Sampling, find_policy, load_policy
    from fastki.report.serve_tables import serve_facts, serve_payload
    from fastki.serving.answers import Answerer
    from fastki.serving.server import Place, bind

    if run == _RUN and not run.exists():
        raise UsageError("no policy was trained here yet: run `fastki train`, or name a RUN")
    checkpoint, extra = find_policy(run, step), _extra(metadata or [])
    place = Place(host, port, max_message_mb * _MIB)
    with bind(place) as listening:  # Before the policy is loaded, which takes long; it listens once that can act.
        announce_compilation(terminal)
        policy = load_policy(checkpoint, Sampling(num_steps, temperature, seed))
        live = LivePolicy(policy, policy.heads[0] if head is None else head.value)
        answerer = Answerer(live, prompt=prompt, extra=extra)
        terminal.line("compiling the policy …")
        start = time.perf_counter()
        live.warm_up()
        terminal.show(serve_facts(checkpoint, answerer, time.perf_counter() - start))
        if check:
            terminal.payload(serve_payload(answerer, checkpoint, place, listening.getsockname()[1]))
            terminal.show("", "checked: it acts, and its place is free")
            terminal.next_command("fastki", "serve", str(run))
            return
        _listen(terminal, answerer, place, listening, checkpoint)


def _listen(terminal: Terminal, answerer: Answerer, place: Place, listening: socket, checkpoint: Path) -> None:
    """Serve until told to stop, then say how it went."""
    from fastki.report.serve_tables import address, serve_payload, snippet, tally_table
    from fastki.serving.server import Server

    port = listening.getsockname()[1]

    def ready() -> None:
        terminal.payload(serve_payload(answerer, checkpoint, place, port))
        terminal.code("", snippet(answerer, place, port), "", f"listening on {address(place, port)}; Ctrl-C ends it")
        sys.stdout.flush()  # Whoever started it may wait for this at the other end of a pipe.

    server = Server(answerer, place, Following(terminal, ready))
    with status(terminal, server.tally):
        server.run(listening)
    terminal.show("", tally_table(server.tally))


def _extra(settings: list[str]) -> dict[str, Any]:
    """NAME=VALUE each; a value is TOML's, or else a text as it stands."""
    from fastki.config import with_settings

    for setting in settings:
        name, equals, _ = setting.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--metadata {setting!r} must read NAME=VALUE, such as --metadata place=lab")
    return with_settings({}, settings)

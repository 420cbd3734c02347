"""A server of openpi's protocol: metadata to whoever connects, then a chunk of actions for each observation."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fastki.errors import UsageError
from fastki.serving.answers import Answerer
from fastki.serving.tally import Tally

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

MAX_CLIENTS = 64
_GOODBYE = 2.0  # Seconds that a client has to say it too.


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Attributes:
        host: name or address.
        port: 0 takes a free one.
        max_bytes: of one message.

    Raises:
        UsageError: a number out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise UsageError(f"--port {self.port} is out of range: 1 to 65535, or 0 for a free one")
        if self.max_bytes < 1:
            raise UsageError("--max-message-mb must be above 0")


class Watcher(Protocol):
    """Is told how it goes, on the event loop: what it does should be quick."""

    def ready(self) -> None: ...

    def connected(self, client: str) -> None: ...

    def refused(self, client: str, why: str) -> None: ...

    def left(self, client: str) -> None: ...


class Server:
    """One policy for many clients, which it answers one after another.

    Args:
        answerer: the policy.
        place: where it listens.
        watcher: is told how it goes.
    """

    def __init__(self, answerer: Answerer, place: Place, watcher: Watcher) -> None:
        self.answerer, self.place, self.watcher = answerer, place, watcher
        self.tally = Tally()
        self._worker = ThreadPoolExecutor(1, "policy")
        self._stop: Callable[[], object] = lambda: None

    def run(self, listening: socket.socket) -> None:
        """Serve on a socket of :func:`bind` until :meth:`stop`, SIGTERM or Ctrl-C, then say goodbye to all.

        Raises:
            UsageError: another program has begun to listen there.
        """
        asyncio.run(self._run(listening))

    def stop(self) -> None:
        """End :meth:`run`; from any thread, once it runs."""
        self._stop()

    async def _run(self, listening: socket.socket) -> None:
        from websockets.asyncio.server import serve

        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._stop = functools.partial(loop.call_soon_threadsafe, ended.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not on Windows, and not outside the main thread: there whoever called stops it.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, ended.set)
        try:
            async with serve(
                self._attend,
                sock=listening,
                compression=None,
                max_size=self.place.max_bytes,
                max_queue=1,
                origins=[None],  # A page in a browser says where it is from: none may use a server of this machine.
                close_timeout=_GOODBYE,
                process_request=_healthy,
                logger=_log(),
            ):
                self.watcher.ready()
                await ended.wait()
        except OSError as error:
            raise _unusable(self.place, error) from error
        finally:
            self._worker.shutdown()

    async def _attend(self, connection: ServerConnection) -> None:
        """One client, from its coming to its leaving."""
        from websockets.exceptions import ConnectionClosed

        tally, client = self.tally, _name(connection)
        if tally.clients >= MAX_CLIENTS:
            await connection.close(1013, f"{MAX_CLIENTS} clients are connected: try again later")
            return
        tally.clients += 1
        tally.connected += 1
        self.watcher.connected(client)
        try:
            await self._converse(connection, client)
        except ConnectionClosed:
            pass  # In the middle of an answer, or with a message that is too large: nothing is left to be said.
        finally:
            tally.clients -= 1
            self.watcher.left(client)

    async def _converse(self, connection: ServerConnection, client: str) -> None:
        loop, before = asyncio.get_running_loop(), None
        await connection.send(self.answerer.greeting)
        async for message in connection:
            start = time.perf_counter()
            answer = await loop.run_in_executor(self._worker, self.answerer.answer, message)
            timing = {"infer_ms": answer.seconds * 1000}
            if before is not None:
                timing["prev_total_ms"] = before * 1000
            await connection.send(answer.packed(timing))
            before = time.perf_counter() - start
            if answer.payload is None:
                self.tally.refused += 1
                self.watcher.refused(client, answer.refusal)
            else:
                self.tally.timed(before, answer.seconds)


def bind(place: Place) -> socket.socket:
    """A socket that has the place, on which no one is answered yet.

    Raises:
        UsageError: it is in use, not allowed, or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(place, error) from error
    try:
        if os.name == "posix":  # A port whose last server has just ended is free; elsewhere this would share it.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise _unusable(place, error) from error
    return listening


def _unusable(place: Place, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"port {place.port} of {place.host} is in use: choose another, or a free one with --port 0")
    if error.errno == errno.EACCES:
        return UsageError(f"port {place.port} of {place.host} is not yours to take: give --port 1024 or more")
    return UsageError(f"--host {place.host} can't be listened at ({error.strerror}): use 127.0.0.1 or 0.0.0.0")


def _healthy(connection: ServerConnection, request: Request) -> Response | None:
    """Answer those who only ask whether the server is there."""
    return connection.respond(200, "OK\n") if request.path == "/healthz" else None


def _name(connection: ServerConnection) -> str:
    address = connection.remote_address
    return "a client" if address is None else f"{address[0]}:{address[1]}"


def _log() -> logging.Logger:
    """Faults of our own go to standard error; that someone spoke no websocket is none."""
    log = logging.Logger("fastki.serving", logging.ERROR)
    log.addFilter(lambda record: record.getMessage() != "opening handshake failed")
    return log

"""A policy's server in a thread of the test's own process."""

from __future__ import annotations

import contextlib
import threading

from fastki.serving.server import Place, Server, bind


class Notes:
    """What a server told of itself."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.lines: list[tuple[str, ...]] = []

    def ready(self) -> None:
        self.begun.set()

    def connected(self, client: str) -> None:
        self.lines.append(("connected", client))

    def refused(self, client: str, why: str) -> None:
        self.lines.append(("refused", client, why))

    def left(self, client: str) -> None:
        self.lines.append(("left", client))


@contextlib.contextmanager
def serving(answerer, place=None):
    """A server that runs in a thread, and the port that it listens on."""
    server = Server(answerer, place or Place(port=0), Notes())
    with bind(server.place) as listening:
        thread = threading.Thread(target=server.run, args=(listening,))
        thread.start()
        assert server.watcher.begun.wait(30)
        try:
            yield server, listening.getsockname()[1]
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()

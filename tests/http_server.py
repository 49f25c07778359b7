"""An HTTP server on this machine, for as long as a test asks it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

SECONDS = 20


class Silent:
    def log_message(self, *_: object) -> None:
        """Tests print nothing."""


class HttpServer(ThreadingHTTPServer):
    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), type("Handler", (Silent, handler), {}))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


Server = TypeVar("Server", bound=HttpServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    with server:
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(SECONDS)

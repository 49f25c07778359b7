"""An S3 of moto's: a real HTTP server in a thread, found through the usual `AWS_*` variables."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "realm"
#: As MinIO says it.
FULL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive
threshold. Please delete a few objects to proceed.</Message></Error>"""


class Quiet(WSGIRequestHandler):
    """Leaves the tests' output alone."""

    def log(self, type: str, message: str, *args: Any) -> None:
        return


class S3Server:
    """`url` is a store's; `stop` and `start` make it vanish and come back, with its contents.

    Each request takes `delay` seconds more; while it is `full` it refuses what would be written.
    """

    def __init__(self, conditional: bool = True) -> None:
        """:param conditional: false makes an S3 of old, which has never heard of If-None-Match."""
        backend = DomainDispatcherApplication(create_backend_app)
        self._backend = backend if conditional else _deaf(backend)
        self._port = 0
        # What moto keeps outlives a server of its own process.
        self._name = uuid.uuid4().hex
        self.delay = 0.0
        self.full = False
        self.refused = 0
        self.start()
        urlopen(Request(f"{self.endpoint}/{BUCKET}", method="PUT"), timeout=10).close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/some/place-{self._name}"

    def start(self) -> None:
        self._server = make_server(
            "127.0.0.1", self._port, self._answer, threaded=True, request_handler=Quiet
        )
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def _answer(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        time.sleep(self.delay)
        if self.full and environment["REQUEST_METHOD"] in ("PUT", "POST"):
            self.refused += 1
            # The body is taken all the same, as the connection serves the next request.
            environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
            start("507 Insufficient Storage", [("Content-Type", "application/xml")])
            return [FULL]
        answered: Iterable[bytes] = self._backend(environment, start)
        return answered

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """This process and its children find it."""
        for name, value in {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)


def _deaf(application: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    def answer(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        environment.pop("HTTP_IF_NONE_MATCH", None)
        found: Iterable[bytes] = application(environment, start)
        return found

    return answer

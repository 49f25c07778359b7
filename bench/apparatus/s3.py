"""An S3 of moto's over real HTTP, in a thread or a process of its own, that fails as it is told.

Found through the usual `AWS_*` variables; whoever asks is known by its access key.
`python -m bench.apparatus.s3 PORT` serves it until it is stopped.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from realm.errors import DependencyUnavailable

HOST = "127.0.0.1"
BUCKET = "realm"
#: Faults are put here; no bucket's name begins so.
FAULTS_PATH = "/-/faults"
CHANGES = ("PUT", "POST", "DELETE")
ERROR = """<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{message}</Message></Error>"""

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Failure(StrEnum):
    """What may happen to a request."""

    #: It takes longer.
    SLOW = "slow"
    INTERNAL_ERROR = "internal_error"
    SLOW_DOWN = "slow_down"
    #: Whatever would be written is refused.
    FULL = "full"
    #: A change takes place, but the connection breaks before the answer.
    LOST_REPLY = "lost_reply"
    #: A change takes place, and the answer is an internal error.
    LATE_ERROR = "late_error"


ANSWERS = {
    Failure.INTERNAL_ERROR: ("500 Internal Server Error", "InternalError", "Please try again."),
    Failure.LATE_ERROR: ("500 Internal Server Error", "InternalError", "Please try again."),
    Failure.SLOW_DOWN: ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
    # As MinIO says it.
    Failure.FULL: (
        "507 Insufficient Storage",
        "XMinioStorageFull",
        "Storage backend has reached its minimum free drive threshold. Please delete a few"
        " objects to proceed.",
    ),
}


@dataclass(frozen=True, slots=True)
class S3Fault:
    """Happens to a `share` of the requests of a process about paths below a prefix in the store;
    an empty name means all. `seconds` is how much longer a slow request takes."""

    failure: Failure
    process: str = ""
    prefix: str = ""
    share: float = 1.0
    seconds: float = 0.0

    def concerns(self, method: str, process: str, path: str) -> bool:
        if self.failure is Failure.FULL and method not in ("PUT", "POST"):
            return False
        if self.failure in (Failure.LOST_REPLY, Failure.LATE_ERROR) and method not in CHANGES:
            return False
        return self.process in ("", process) and f"/{self.prefix}" in f"/{path}"


class S3Server:
    """`url` is a store's; `stop` and `start` make it vanish and come back, with its contents.
    `hits` counts the requests that failed, by their failure."""

    def __init__(self, port: int = 0, *, conditional: bool = True, seed: int = 0) -> None:
        """:param conditional: false makes an S3 of old, which has never heard of If-None-Match."""
        backend: Application = DomainDispatcherApplication(create_backend_app)
        self._backend = backend if conditional else _deaf(backend)
        self._port = port
        self._random = random.Random(seed)
        # What moto keeps outlives a server of its own process.
        self._name = uuid.uuid4().hex
        self.faults: Sequence[S3Fault] = ()
        self.hits: Counter[Failure] = Counter()
        self.start()
        urlopen(Request(f"{self.endpoint}/{BUCKET}", method="PUT"), timeout=10).close()

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self._port}"

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/some/place-{self._name}"

    def start(self) -> None:
        self._server = make_server(
            HOST, self._port, self._answer, threaded=True, request_handler=_Quiet
        )
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def wait(self) -> None:
        """Until it is stopped."""
        self._thread.join()

    def use(self, set_variable: Callable[[str, str], object]) -> None:
        """Whoever has these environment variables finds it."""
        for name, value in variables(self.endpoint).items():
            set_variable(name, value)

    def _answer(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environment["PATH_INFO"] == FAULTS_PATH:
            self.faults = [_fault(each) for each in json.loads(_body(environment))]
            start("204 No Content", [])
            return []
        for fault in self._happening(environment):
            self.hits[fault.failure] += 1
            if fault.failure is Failure.SLOW:
                time.sleep(fault.seconds)
                continue
            if fault.failure in (Failure.LOST_REPLY, Failure.LATE_ERROR):
                list(self._backend(environment, lambda *_: None))
            else:
                # The body is taken all the same, as the connection serves the next request.
                _body(environment)
            if fault.failure is Failure.LOST_REPLY:
                environment["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
                raise ConnectionAbortedError
            status, code, message = ANSWERS[fault.failure]
            start(status, [("Content-Type", "application/xml")])
            return [ERROR.format(code=code, message=message).encode()]
        return self._backend(environment, start)

    def _happening(self, environment: Mapping[str, Any]) -> list[S3Fault]:
        """Slowness first: the others end the request."""
        method, process, path = (
            environment["REQUEST_METHOD"],
            _asking(environment),
            _path(environment),
        )
        found = [
            each
            for each in self.faults
            if each.concerns(method, process, path) and self._random.random() < each.share
        ]
        return sorted(found, key=lambda each: each.failure is not Failure.SLOW)


def variables(endpoint: str, process: str = "somebody") -> dict[str, str]:
    """The environment of a process that uses an S3 of ours."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": process,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


def set_faults(endpoint: str, faults: Iterable[S3Fault]) -> None:
    """Tells a server in another process what happens from now on.

    :raises DependencyUnavailable: if it does not answer.
    """
    data = json.dumps([asdict(each) for each in faults]).encode()
    try:
        urlopen(Request(f"{endpoint}{FAULTS_PATH}", data, method="PUT"), timeout=10).close()
    except OSError as error:
        raise DependencyUnavailable(f"the S3 of the bench does not answer: {error}") from error


class _Quiet(WSGIRequestHandler):
    """Leaves the output alone."""

    def log(self, type: str, message: str, *args: Any) -> None:
        return


def _fault(fields: dict[str, Any]) -> S3Fault:
    return S3Fault(**{**fields, "failure": Failure(fields["failure"])})


def _body(environment: Mapping[str, Any]) -> bytes:
    found: bytes = environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
    return found


def _asking(environment: Mapping[str, Any]) -> str:
    """`AWS4-HMAC-SHA256 Credential=indexer-2/20261127/…`"""
    return str(environment.get("HTTP_AUTHORIZATION", "")).partition("Credential=")[2].split("/")[0]


def _path(environment: Mapping[str, Any]) -> str:
    """Of the object, or the folder that is listed."""
    prefixes = parse_qs(environment.get("QUERY_STRING", "")).get("prefix")
    return prefixes[0] if prefixes else str(environment["PATH_INFO"])


def _deaf(application: Application) -> Application:
    def answer(environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        environment.pop("HTTP_IF_NONE_MATCH", None)
        return application(environment, start)

    return answer


if __name__ == "__main__":
    S3Server(int(sys.argv[1])).wait()

"""`python -m services.standalone.fork_server SOCKET MODULE…`: imports the services' modules once,
and becomes each of them by a fork.

A fork imports nothing, and shares each page of memory until somebody writes to it. Its parent
is the supervisor, which adopts orphans.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass

from services.standalone.parent_death import die_with, name_process

READY = b"ready"
REQUEST_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Who is to be forked; its output goes to the file that comes with the request."""

    name: str
    module: str
    environment: dict[str, str]
    niceness: int
    folder: str | None

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, sent: bytes) -> ForkRequest:
        return cls(**json.loads(sent))


def main() -> None:
    """Until the supervisor closes its end."""
    supervisor = os.getppid()
    connection = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collector that marks objects would write to every shared page
    sys.stderr.write("fork_server_ready\n")
    connection.send(READY)
    while True:
        sent, files, _, _ = socket.recv_fds(connection, REQUEST_BYTES, maxfds=1)
        if not sent:
            return
        if fork_orphan():
            request = ForkRequest.from_bytes(sent)
            die_with(supervisor)
            become(request, files[0])
            connection.send(str(os.getpid()).encode())
            connection.close()
            sys.exit(importlib.import_module(request.module).main())
        os.close(files[0])


def fork_orphan() -> bool:
    """True in the fork, which by then has been adopted; its parent, a fork too, has ended."""
    reading, writing = os.pipe()
    if between := os.fork():
        os.close(reading)
        os.waitpid(between, 0)
        os.close(writing)
        return False
    if os.fork():
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)  # ends with the pipe, whose last writer waited for the parent's end
    os.close(reading)
    return True


def become(request: ForkRequest, output: int) -> None:
    """Makes this process as it would be had it been started for the service."""
    os.setpgid(0, 0)
    os.nice(request.niceness)
    if request.folder:
        os.chdir(request.folder)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.close(output)
    os.environ.clear()
    os.environ.update(request.environment)
    name_process(request.name)
    sys.argv = [request.module]


if __name__ == "__main__":
    main()

"""The process that owns one collection's folder for its life.

Started by the front with one end of a socket pair. Reads run on a few threads, writes on one, in
the order of arrival. It ends when the front says so, hangs up or dies.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from realm.errors import InvalidInput, RealmError
from services.standalone.qdrant_edge.framing import (
    Request,
    fault_frame,
    read_request,
    reply_frame,
)
from services.standalone.qdrant_edge.protocol import collections
from services.standalone.qdrant_edge.shard import Shard, as_fault

#: Linux's prctl option: the signal that the kernel sends when the parent ends.
PR_SET_PDEATHSIG = 1
READ_THREADS = 4
#: Exit status after an engine panic: the memory cannot be trusted, the folder can.
PANIC = 70


class Line:
    """The way back to the front; frames of several threads do not mix."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = Lock()

    def send(self, frame: bytes) -> None:
        with self._sending:
            self._connection.sendall(frame)

    def answer(self, request: Request, operation: Callable[[bytes], bytes]) -> None:
        try:
            frame = reply_frame(request.number, operation(request.body))
        except Exception as error:
            frame = fault_frame(request.number, as_fault(error))
        except BaseException:
            os._exit(PANIC)  # the front starts another one, which loads the folder anew
        self.send(frame)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    # a terminal or supervisor signals the whole group; only the front decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=arguments.socket) as connection:
        serve(Line(connection), connection.makefile("rb"), arguments.folder)


def die_with_parent(parent: int) -> None:
    """A front killed outright takes its children along: the folder's lock is free at once."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the front has ended already")


def serve(line: Line, requests: BinaryIO, folder: Path) -> None:
    opening = read_request(requests)
    if opening is None:
        return
    try:
        shard = Shard(folder, collections.CreateCollection.FromString(opening.body))
    except Exception as error:
        line.send(fault_frame(opening.number, as_fault(error)))
        return
    line.send(reply_frame(opening.number, shard.info()))
    with ThreadPoolExecutor(READ_THREADS) as reading, ThreadPoolExecutor(1) as writing:
        stop = dispatch(line, requests, shard, reading, writing)
    shard.close()
    if stop is not None:
        line.send(reply_frame(stop.number, b""))


def dispatch(
    line: Line,
    requests: BinaryIO,
    shard: Shard,
    reading: ThreadPoolExecutor,
    writing: ThreadPoolExecutor,
) -> Request | None:
    """Hands requests to threads until `Stop`, which it returns, or until the front hangs up."""
    while (request := read_request(requests)) is not None:
        if request.operation == "Stop":
            return request
        if request.operation in shard.writes:
            writing.submit(line.answer, request, shard.writes[request.operation])
        elif request.operation in shard.reads:
            reading.submit(line.answer, request, shard.reads[request.operation])
        else:
            unknown: RealmError = InvalidInput(f"A collection knows no {request.operation!r}")
            line.send(fault_frame(request.number, unknown))
    return None


if __name__ == "__main__":
    main()

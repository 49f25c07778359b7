"""The process that owns one collection's folder for its life.

Started by the front with one end of a socket pair. Reads run on a few threads, writes on one, in
the order of arrival. It ends when the front says so, hangs up or dies.
"""

from __future__ import annotations

import argparse
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
from services.standalone.parent_death import die_with
from services.standalone.qdrant_edge.framing import (
    Request,
    fault_frame,
    read_request,
    reply_frame,
)
from services.standalone.qdrant_edge.protocol import collections
from services.standalone.qdrant_edge.shard import Shard, as_fault

READ_THREADS = 4
#: Exit status after an engine panic: the memory cannot be trusted, the folder can.
PANIC = 70


class Replies:
    """Sends replies to the front; frames of several threads do not mix."""

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
    # A front killed outright takes its children along: the folder's lock is free at once.
    if sys.platform == "linux":
        die_with(arguments.parent)
    # a terminal or supervisor signals the whole group; only the front decides when to stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=arguments.socket) as connection:
        serve(Replies(connection), connection.makefile("rb"), arguments.folder)


def serve(replies: Replies, requests: BinaryIO, folder: Path) -> None:
    opening = read_request(requests)
    if opening is None:
        return
    try:
        shard = Shard(folder, collections.CreateCollection.FromString(opening.body))
    except Exception as error:
        replies.send(fault_frame(opening.number, as_fault(error)))
        return
    replies.send(reply_frame(opening.number, shard.info()))
    with ThreadPoolExecutor(READ_THREADS) as reading, ThreadPoolExecutor(1) as writing:
        stop = dispatch(replies, requests, shard, reading, writing)
    shard.close()
    if stop is not None:
        replies.send(reply_frame(stop.number, b""))


def dispatch(
    replies: Replies,
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
            writing.submit(replies.answer, request, shard.writes[request.operation])
        elif request.operation in shard.reads:
            reading.submit(replies.answer, request, shard.reads[request.operation])
        else:
            unknown: RealmError = InvalidInput(f"A collection knows no {request.operation!r}")
            replies.send(fault_frame(request.number, unknown))
    return None


if __name__ == "__main__":
    main()

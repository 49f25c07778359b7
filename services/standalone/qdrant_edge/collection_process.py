"""The front's handle on one collection's child: calls it, watches it, starts it again.

All of it runs on the front's event loop; a child that is busy or dead costs a waiting coroutine.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from itertools import count
from pathlib import Path

import structlog

from realm.errors import DependencyUnavailable, NotReady, RealmError
from services.standalone.qdrant_edge.framing import HEADER, Request, open_reply
from services.standalone.qdrant_edge.protocol import collections

log = structlog.get_logger(__name__)

CHILD = "services.standalone.qdrant_edge.child"
#: Seconds for a child to load its folder; a long write-ahead log is replayed at 100k points/s.
START_LIMIT = 60.0
#: Seconds for a child to finish its requests, flush and end, before it is killed.
STOP_LIMIT = 10.0
#: Seconds before a child that cannot start is tried again: doubled up to the limit.
FIRST_RETRY, LAST_RETRY = 0.2, 5.0
#: Requests inside one child at once; more wait here, in order.
IN_FLIGHT = 64
#: Bytes that the event loop reads ahead from one child.
READ_AHEAD = 1 << 20


class CollectionProcess:
    """Runs one collection's child and restarts it when it dies, from `start` to `stop`."""

    def __init__(self, folder: Path, config: collections.CreateCollection) -> None:
        self.name = config.collection_name
        #: The child's last answer to `Info`, for while it optimizes and cannot answer.
        self.info = collections.CollectionInfo()
        self.optimizing = False
        self._folder = folder
        self._config = config
        self._numbers = count(1)
        self._pending: dict[int, asyncio.Future[bytes]] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        # Set while there is a child to ask or a fault to report; clear while a child starts.
        self._settled = asyncio.Event()
        self._fault: RealmError | None = None
        self._stopping = False
        self._process: Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._watch: asyncio.Task[None] | None = None
        self._optimization: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the child and waits until it has opened the folder.

        :raises RealmError: what the child found wrong with the folder or the configuration.
        """
        reader = await self._spawn()
        self._watch = asyncio.create_task(self._supervise(reader))

    async def start_or_retry(self) -> None:
        """Like `start`, but a folder that cannot be opened is logged and tried again later."""
        self._watch = asyncio.create_task(self._supervise(None))
        await self._settled.wait()

    async def call(self, operation: str, body: bytes) -> bytes:
        """The child's answer, both protobuf bytes. The caller's deadline cancels the wait.

        :raises DependencyUnavailable: if the child dies first; a write may have been applied.
        :raises NotReady: if the child cannot be started.
        :raises RemoteFault: if the child refuses.
        """
        async with self._slots:
            await self._settled.wait()
            if self._fault is not None:
                raise NotReady(f"Collection `{self.name}` cannot be served: {self._fault.message}")
            return await self._exchange(operation, body)

    def optimize(self) -> None:
        """Has the child build its indexes, in the background. A second call changes nothing."""
        if not self.optimizing:
            self.optimizing = True
            self._optimization = asyncio.create_task(self._optimize())

    async def stop(self) -> None:
        """Lets the child finish its requests, flush and end; kills it after STOP_LIMIT."""
        self._fault = NotReady("it is being closed")
        self._settled.set()
        self._stopping = True
        if not self.optimizing:  # else it could not hear us; its write-ahead log keeps all
            with suppress(TimeoutError, RealmError):
                async with asyncio.timeout(STOP_LIMIT):
                    await self._exchange("Stop", b"")
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._end()

    async def _optimize(self) -> None:
        log.info("optimization_started", collection=self.name)
        try:
            self.info = collections.CollectionInfo.FromString(await self.call("Optimize", b""))
            log.info("optimization_ended", collection=self.name)
        except RealmError as error:
            log.error("optimization_failed", collection=self.name, error=error.message)
        finally:
            self.optimizing = False

    async def _exchange(self, operation: str, body: bytes) -> bytes:
        if self._writer is None:
            raise self._died()
        number = next(self._numbers)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pending[number] = reply
        try:
            self._writer.write(Request(number, operation, body).frame())
            # A child that dies while we write fails the reply.
            with suppress(ConnectionError):
                await self._writer.drain()
            return open_reply(await reply)
        finally:
            self._pending.pop(number, None)

    async def _supervise(self, reader: asyncio.StreamReader | None) -> None:
        while not self._stopping:
            if reader is None:
                reader = await self._respawn()
            await self._read_replies(reader)
            reader = None
            if not self._stopping:
                self._settled.clear()
            await self._end()
            if not self._stopping:
                status = self._process.returncode if self._process else None
                log.warning("collection_process_died", collection=self.name, status=status)

    async def _read_replies(self, reader: asyncio.StreamReader) -> None:
        """Until the child hangs up."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number, content = await read_reply(reader)
                reply = self._pending.get(number)
                # Nobody waits for it once the deadline has passed.
                if reply is not None and not reply.done():
                    reply.set_result(content)

    async def _respawn(self) -> asyncio.StreamReader:
        retry = FIRST_RETRY
        while True:
            try:
                return await self._spawn()
            except RealmError as fault:
                self._fault = fault
                self._settled.set()
                log.error("collection_unavailable", collection=self.name, error=fault.message)
            await asyncio.sleep(retry)
            retry = min(2 * retry, LAST_RETRY)

    async def _spawn(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", CHILD, "--folder", str(self._folder)),
                *("--socket", str(theirs.fileno()), "--parent", str(os.getpid())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD)
        try:
            async with asyncio.timeout(START_LIMIT):
                self._writer.write(Request(0, "Open", self._config.SerializeToString()).frame())
                _, content = await read_reply(reader)
            self.info = collections.CollectionInfo.FromString(open_reply(content))
        except RealmError:
            await self._end()
            raise
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError) as error:
            await self._end()
            raise NotReady(f"The process of collection `{self.name}` did not start") from error
        self._fault = None
        self._settled.set()
        log.info("collection_opened", collection=self.name, child=self._process.pid)
        return reader

    async def _end(self) -> None:
        """Makes sure that the child is gone, and fails the requests that wait for it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            if self._process.returncode is None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(self._died())

    def _died(self) -> DependencyUnavailable:
        return DependencyUnavailable(
            f"The process of collection `{self.name}` ended during the request and is being"
            " restarted: send the request again"
        )


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    length, number = HEADER.unpack(await reader.readexactly(HEADER.size))
    return number, await reader.readexactly(length)

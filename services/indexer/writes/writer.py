"""Appends to the corpus, in one thread: gathers writes into groups, one commit each.

A request sent again under its id changes nothing and gets the version that holds it.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import structlog

from realm.corpus.documents import Document, check_deletion, check_upsert
from realm.corpus.table import Change, CorpusTable
from realm.errors import (
    DependencyUnavailable,
    FailedPrecondition,
    NotReady,
    Overloaded,
    RealmError,
)
from realm.process.threads import VitalThread
from realm.v1.types_pb2 import Filter
from services.indexer.writes.conditions import Decide
from services.indexer.writes.requests import RequestHistory, digest_of

GROUP_DOCUMENTS = 2_000
WAITING_WRITES = 1_000
IDLE_SECONDS = 0.5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Write:
    """A call's changes under one request id, and the future of their corpus version.

    `decide` takes their place where they depend on what the corpus holds.
    """

    request_id: str
    digest: str
    changes: tuple[Change, ...]
    version: Future[int]
    decide: Decide | None = None

    def made(self, table: CorpusTable) -> Sequence[Change]:
        return self.changes if self.decide is None else self.decide(table)


def check_changes(
    request_id: str,
    documents: Sequence[Document],
    deletions: Sequence[str],
    max_bytes: int,
    filter: Filter | None = None,
) -> tuple[str, tuple[Change, ...]]:
    """The request's id (a new one if empty) and its changes.

    :param filter: that the changes are bound to, as a part of what is asked for.
    :raises InvalidInput: naming the field, if there is one that cannot be written.
    """
    if documents or not deletions:
        check_upsert(request_id, documents, max_bytes=max_bytes)
    if deletions:
        check_deletion(request_id, deletions)
    name, digest = request_id or uuid.uuid4().hex, digest_of(documents, deletions, filter)
    upserts = [Change(document.id, document, name, digest) for document in documents]
    return name, (*upserts, *(Change(each, None, name, digest) for each in deletions))


class Writer(VitalThread):
    """The only appender to the corpus table. `submit` may be called from any thread."""

    def __init__(
        self,
        open_table: Callable[[], CorpusTable],
        group_seconds: float,
        on_commit: Callable[[int], None],
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """:param on_commit: called with the version of each commit, before it is acknowledged; must
            not block.
        :param before_commit: may refuse it, for want of leadership.
        """
        super().__init__("writer", self._until_stopped)
        self._open_table = open_table
        self._group_seconds = group_seconds
        self._on_commit = on_commit
        self._before_commit = before_commit
        self._waiting: queue.Queue[Write] = queue.Queue(WAITING_WRITES)
        self._held: Write | None = None
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._table: CorpusTable | None = None
        self._requests = RequestHistory()
        self._maintenance: queue.SimpleQueue[Callable[[CorpusTable], None]] = queue.SimpleQueue()

    def run_maintenance(self, work: Callable[[CorpusTable], None]) -> None:
        """Runs work on the table between two commits; failures are logged."""
        self._maintenance.put(work)

    def submit(self, request_id: str, changes: tuple[Change, ...]) -> Future[int]:
        """Promises the corpus version that will hold the changes.

        :raises Overloaded: if too many writes wait already.
        :raises NotReady: if the indexer is stopping.
        """
        return self._accept(Write(request_id, changes[0].request_digest, changes, Future()))

    def submit_decision(self, request_id: str, digest: str, decide: Decide) -> Future[int]:
        """As `submit`, of changes that are decided right before their commit, which they have for
        themselves.

        :param digest: of all that was asked for under the request id.
        """
        return self._accept(Write(request_id, digest, (), Future(), decide))

    def _accept(self, write: Write) -> Future[int]:
        if self._stopping.is_set():
            raise _stopping()
        try:
            self._waiting.put_nowait(write)
        except queue.Full as error:
            raise Overloaded(f"{WAITING_WRITES} writes wait already: try again later") from error
        if self._ended.is_set():
            self._turn_away()
        return write.version

    def _until_stopped(self) -> None:
        try:
            while self._held or not (self._stopping.is_set() and self._waiting.empty()):
                self.write_waiting(IDLE_SECONDS)
        finally:
            self._ended.set()
            self._turn_away()

    def write_waiting(self, idle_seconds: float) -> None:
        """Commits what is waiting, or comes within `idle_seconds`; then maintains the table."""
        group = self._gather(idle_seconds)
        if group:
            self._commit(group)
        if not self._stopping.is_set():
            self._run_maintenance()

    def _turn_away(self) -> None:
        """Fails the writes that still wait, once the thread has ended."""
        self._stopping.set()
        held, self._held = self._held, None
        if held is not None:
            held.version.set_exception(_stopping())
        while True:
            try:
                write = self._waiting.get_nowait()
            except queue.Empty:
                return
            write.version.set_exception(_stopping())

    def stop(self) -> None:
        """Refuses new writes; accepted ones are still committed."""
        self._stopping.set()

    def _gather(self, idle_seconds: float) -> list[Write]:
        try:
            first = self._held or self._waiting.get(timeout=idle_seconds)
        except queue.Empty:
            return []
        self._held = None
        group = [first]
        if first.decide is not None:
            return group
        deadline = time.monotonic() + self._group_seconds
        size = len(group[0].changes)
        while size < GROUP_DOCUMENTS:
            try:
                write = self._waiting.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if write.decide is not None:
                self._held = write
                break
            group.append(write)
            size += len(write.changes)
        return group

    def _commit(self, group: list[Write]) -> None:
        try:
            table = self._ready_table()
            version = table.version
            fresh = self._fresh(group)
            if fresh:
                self._before_commit()
                changes = [change for write in fresh for change in write.made(table)]
                version = table.append(changes)
                for write in fresh:
                    self._requests.learn(write.request_id, write.digest, version)
        except FailedPrecondition as error:  # a decision: nothing was written
            for write in group:
                write.version.set_exception(error)
            return
        except BaseException as error:
            # Whether the commit took place is unknown until the table is reopened.
            self._table = None
            log.warning("write_failed", writes=len(group), why=str(error))
            for write in group:
                write.version.set_exception(_as_ours(error))
            if not isinstance(error, Exception):
                raise
            return
        if fresh:
            self._on_commit(version)
        for write in group:
            self._answer(write)

    def _fresh(self, group: list[Write]) -> list[Write]:
        """The writes to commit: the first under each unknown id."""
        self._requests.forget_old()
        first: dict[str, Write] = {}
        for write in group:
            if not self._requests.knows(write.request_id):
                first.setdefault(write.request_id, write)
        return list(first.values())

    def _answer(self, write: Write) -> None:
        try:
            version = self._requests.version_of(write.request_id, write.digest)
        except RealmError as error:
            write.version.set_exception(error)
        else:
            write.version.set_result(version)

    def _run_maintenance(self) -> None:
        if self._table is not None and self._table.is_scattered:
            self.run_maintenance(CorpusTable.compact)
        while not self._maintenance.empty():
            work = self._maintenance.get()
            try:
                self._before_commit()
                table = self._ready_table()
                before = table.version
                work(table)
            except Exception as error:
                self._table = None
                log.warning("maintenance_failed", why=str(error))
            else:
                if table.version != before:
                    self._on_commit(table.version)

    def _ready_table(self) -> CorpusTable:
        if self._table is None:
            table = self._open_table()
            self._requests.read(table)
            self._table = table
        return self._table


def _stopping() -> NotReady:
    return NotReady("the indexer is stopping: send the write again")


def _as_ours(error: BaseException) -> RealmError:
    if isinstance(error, NotReady):
        return error
    return DependencyUnavailable(
        f"the corpus was not written ({error}): send it again with the same request id"
    )

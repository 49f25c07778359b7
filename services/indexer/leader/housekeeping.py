"""Garbage collection, maintenance of the corpus table, and physical erasure of deleted documents
in time. What may be deleted is decided in `realm.records.retention`.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

import structlog

from realm.corpus.table import CorpusTable
from realm.errors import Corrupt, DependencyUnavailable, NotFound
from realm.records.controls import COLLECT
from realm.records.folder import PARTIAL
from realm.records.generation import Generation
from realm.records.json_records import as_record
from realm.records.leaders import stale_writes
from realm.records.mending import RecordMender
from realm.records.retention import (
    ERASED,
    SETTLED_SECONDS,
    Removal,
    Retention,
    Thing,
    erased_upto,
)
from realm.records.states import ACTIVE, FAILED, IN_PROGRESS, Ages
from realm.records.store import Store
from realm.records.strays import DAMAGED, STRAY, Stray, Strays
from realm.search.vector_index import VectorIndex
from services.indexer.context import Records
from services.indexer.metrics import IndexerMetrics

EVERY_SECONDS = 60.0
#: Interval of looks at the records of what is active.
RECORDS_SECONDS = 10.0
#: Interval of table maintenance; at most a quarter of the time for erasure.
TABLE_SECONDS = 900.0
#: Nothing is built for the sake of erasure before this share of its time: a refresh may do.
ERASURE_BEGINS = 0.5
#: After a build that was rejected or abandoned, the next one waits for this share of the time.
ERASURE_AGAIN = 0.125
#: How long request ids of writes stay in the table: twice what the writer promises, since another
#: leader's rows have another clock's stamps.
REMEMBERED_SECONDS = 2 * 24 * 3600.0
#: Rows of the table older than this corpus version may be gone.
FLOOR = "control/corpus_floor.json"
#: What a process that was killed while writing left in a folder, up to version 0.1.
STAGED = re.compile(r".*#\d+")

#: Work on the table between two of the writer's commits.
TableMaintenance = Callable[[CorpusTable], None]

log = structlog.get_logger(__name__)


def corpus_floor(store: Store) -> float:
    """Whatever was derived from the corpus at an older version must be read anew; infinite, so
    everything, if it cannot be read."""
    try:
        return int(store.read_json(FLOOR)["version"])
    except NotFound:
        return 0
    except Corrupt:
        return math.inf


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """Deletions up to a corpus version, the oldest at `deleted_at`, whose rows the table has
    dropped; a vacuum after `vacuum_at` deletes their files. Unix times."""

    deleted_at: float
    version: int
    vacuum_at: float


@dataclass(slots=True)
class ErasureDeadlines:
    """Tracks which deleted documents still exist physically, and when the oldest must be gone.

    A deletion waits in the table until no index in use was made before it; then in the table's
    old files, until a vacuum, and in indexes that ended lately. The last two waits are noted in
    the store, since the table no longer knows the document.

    :param on_due: called with the oldest deadline, in Unix time; 0: nothing waits.
    """

    store: Store
    within_seconds: float
    on_due: Callable[[float], None]
    _in_table: float | None = field(default=None, init=False)

    def in_table(self, oldest: float | None) -> None:
        """Notes when the oldest deletion still in the table was made; None: there is none."""
        self._in_table = oldest
        self._report(self._pending())

    def dropped(self, deletions: PendingErasure) -> None:
        """Notes deletions whose rows the table has dropped."""
        self._write([*self._pending(), deletions])

    def vacuumed(self, now: float, indexes: Iterable[int]) -> None:
        """Notes a vacuum.

        :param indexes: corpus versions of the generations that still have files.
        """
        oldest = min(indexes, default=None)
        before = self._pending()
        left = [
            each
            for each in before
            if now < each.vacuum_at or (oldest is not None and oldest < each.version)
        ]
        if left != before:
            self._write(left)

    def _write(self, pending: list[PendingErasure]) -> None:
        upto = max(erased_upto(self.store), *(each.version for each in pending), 0)
        rows = [asdict(each) for each in pending]
        self.store.write_json(ERASED, {"version": upto, "waiting": rows})
        self._report(pending)

    def _pending(self) -> list[PendingErasure]:
        try:
            rows = self.store.read_json(ERASED).get("waiting", [])
            return [as_record(PendingErasure, row, ERASED) for row in rows]
        except (NotFound, Corrupt):
            return []

    def _report(self, pending: list[PendingErasure]) -> None:
        times = [each.deleted_at for each in pending]
        if self._in_table is not None:
            times.append(self._in_table)
        self.on_due(min(times) + self.within_seconds if times else 0.0)


class Housekeeping:
    """Called after every tick by the reconciler's thread, which also begins builds.

    :param index: None: no collections are dropped.
    :param submit: passes work on the corpus table to the thread that owns it.
    :param wall: Unix time, for erasure deadlines, which outlast a leader; `ticks`: this process's
        own clock, for everything else.
    """

    def __init__(
        self,
        records: Records,
        index: VectorIndex | None,
        retention: Retention,
        submit: Callable[[TableMaintenance], None],
        erase_within_seconds: float,
        metrics: IndexerMetrics,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = records.store
        self._snapshots = records.snapshots
        self._generations = records.generations
        self._mender = RecordMender(records.store, records.generations)
        self._controls = records.controls
        self._index = index
        self._retention = retention
        self._submit = submit
        self._erase_within = erase_within_seconds
        self._metrics = metrics
        self._wall = wall
        self._ticks = ticks
        self._strays = Strays(records.store)
        self._told: set[Stray] = set()
        self._erasures = ErasureDeadlines(
            records.store, erase_within_seconds, metrics.erasure_due.set
        )
        self._ages, self._staged = Ages(ticks), Ages(ticks)
        self._last = self._last_table = self._last_records = ticks()
        self._last_strays = float("-inf")
        #: Indexes made of the corpus before this version hold documents that must be gone.
        self._overdue = 0

    def run_when_due(self, *, asked: bool = False) -> None:
        """:param asked: somebody wants it at once."""
        if asked:
            self._store.delete(COLLECT)
            self._last = self._last_table = self._last_strays = float("-inf")
        now = self._ticks()
        if now - self._last >= EVERY_SECONDS:
            self._last = now
            self.collect_garbage()
            self._request_rebuilds()
        if now - self._last_records >= RECORDS_SECONDS:
            self._last_records = now
            self._mender.mend()
        if now - self._last_table >= min(TABLE_SECONDS, self._erase_within / 4):
            self._last_table = now
            self.maintain_table()
        if now - self._last_strays >= TABLE_SECONDS:
            self._last_strays = now
            self.report_strays()

    def report_strays(self) -> None:
        """Counts the files in the store that are foreign or damaged; logs each of them once."""
        found = self._strays.scan()
        for each in set(found) - self._told:
            log.warning("stray_file", path=each.path, kind=each.kind, why=each.why)
        self._told = set(found)
        for kind in (STRAY, DAMAGED):
            count = sum(each.kind == kind for each in found)
            self._metrics.strays.labels(kind).set(count)

    def collect_garbage(self) -> int:
        """Deletes what may go; returns how many things went."""
        plan = self._retention.plan(self._wall(), self._overdue, self._collections())
        for removal in plan:
            self._remove(removal)
        removed = len(plan) + self._remove_staged_files()
        if removed:
            size = sum(removal.size for removal in plan)
            log.info("garbage_collected", things=removed, bytes=size)
        return removed

    def maintain_table(self) -> None:
        """Has superseded rows erased, never past what an active generation needs."""
        active = self._active()
        if not active:
            self._submit(lambda table: self._erasures.in_table(table.oldest_deletion()))
            return
        floor = min(each.corpus_version for each in active)
        known = corpus_floor(self._store)
        if floor > known or known == math.inf:
            self._store.write_json(FLOOR, {"version": floor, "at": self._wall()})
        since = self._wall() - REMEMBERED_SECONDS
        before = self._wall() - ERASURE_BEGINS * self._erase_within
        hours = int(min(24 * 3600.0, self._erase_within / 4) // 3600)
        # Not in `maintain`, which delays writes. What is built from now on has later versions.
        needed = self._retention.needed(self._overdue)
        with_files = [each.corpus_version for each in needed.generations.values()]

        def maintain(table: CorpusTable) -> None:
            # First, so that work which keeps failing does not hide that it is overdue.
            self._erasures.in_table(table.oldest_deletion())
            forgotten = table.purge(floor, since, before)
            if forgotten.deleted_upto:
                vacuum_at = self._wall() + hours * 3600.0
                self._erasures.dropped(
                    PendingErasure(forgotten.deleted_at, forgotten.deleted_upto, vacuum_at)
                )
            began = self._wall()
            if table.vacuum(hours) or forgotten.rows:
                table.trim_log()
            self._erasures.vacuumed(began, with_files)
            self._erasures.in_table(table.oldest_deletion())
            self._overdue = table.deleted_before(before)
            if forgotten.rows:
                log.info("rows_erased", rows=forgotten.rows, upto=floor)

        self._submit(maintain)

    def _request_rebuilds(self) -> None:
        """Requests a refresh of the same snapshot where an active index must be replaced: it holds
        documents deleted long ago, or a leader changed it after its term ended."""
        active, entry = self._active(), self._generations.live()
        late = self._changed_late({each.collection for each in active})
        stale = [
            each.number
            for each in active
            if each.corpus_version < self._overdue or each.collection in late
        ]
        live = self._generations.find(entry.generation) if entry else None
        if not stale or live is None:
            return
        asked = self._controls.refresh_request()
        newest = self._generations.get(self._generations.numbers()[-1])
        if asked is not None and asked.number > newest.request:
            return  # it has not begun yet
        state = self._generations.state(newest.number)
        failed_for = self._ages.of(newest.folder, state)
        if state in FAILED and failed_for < ERASURE_AGAIN * self._erase_within:
            return
        states = {each.number: self._generations.state(each.number) for each in active}
        if IN_PROGRESS & set(states.values()):
            return  # one is being built: decide when it has ended
        why = f"documents deleted up to version {self._overdue} must be gone"
        if late:
            why = f"a leader changed {', '.join(sorted(late))} after its term ended"
        log.info("refresh_requested", generations=stale, why=why)
        self._controls.request_refresh(why, live.snapshot)

    def _changed_late(self, active: set[str]) -> set[str]:
        """Those of the active collections; notes about others are deleted."""
        found = stale_writes(self._store)
        for path, collection in found.items():
            if collection not in active:
                self._store.delete(path)
        return active & set(found.values())

    def _active(self) -> list[Generation]:
        return [
            self._generations.get(number)
            for number in self._generations.numbers()
            if (state := self._generations.state(number)) is None or state in ACTIVE
        ]

    def _remove(self, removal: Removal) -> None:
        match removal.thing:
            case Thing.SNAPSHOT:
                self._snapshots.delete(self._snapshots.get(int(removal.name)))
            case Thing.FOLDER:
                self._store.delete_folder(removal.name)
            case Thing.COLLECTION if self._index is not None:
                self._index.drop(removal.name)
            case _:
                self._store.delete(removal.name)
                self._store.prune_empty_parents(removal.name.rpartition("/")[0])
        log.debug("removed", kind=removal.kind, name=removal.name, why=removal.why)

    def _collections(self) -> list[str]:
        if self._index is None:
            return []
        try:
            return self._index.collections()
        except DependencyUnavailable:
            return []

    def _remove_staged_files(self) -> int:
        """Removes what a killed process left half written; buckets have no such files."""
        if self._store.root is None:
            return 0
        root = self._store.root
        present = [
            path
            for path in (*root.rglob("*#*"), *(root / PARTIAL).glob("*"))
            if STAGED.fullmatch(path.name) or path.parent.name == PARTIAL
            if path.is_file()
        ]
        self._staged.keep({str(path) for path in present})
        found = [path for path in present if self._staged.of(str(path), None) > SETTLED_SECONDS]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

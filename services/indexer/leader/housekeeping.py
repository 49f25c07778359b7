"""Deletes what nobody needs any more, keeps the corpus table small, and sees to it that deleted
documents are physically gone in time. What may go is `realm.records.retention`'s affair.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import structlog

from realm.corpus.table import CorpusTable
from realm.errors import Corrupt, DependencyUnavailable, NotFound
from realm.records.ages import Ages
from realm.records.controls import Controls
from realm.records.folder import PARTIAL
from realm.records.generations import Generation, Generations
from realm.records.leaders import changed_late
from realm.records.retention import ASKED, SETTLED_SECONDS, Removal, Retention
from realm.records.snapshots import Snapshots
from realm.records.states import ACTIVE, FAILED, IN_PROGRESS
from realm.records.store import Store
from realm.records.strays import Stray, Strays
from realm.search.vector_index import VectorIndex
from services.indexer.leader.erasures import ErasureDeadlines, PendingErasure

EVERY_SECONDS = 60.0
#: The table is looked after so often, and at the most four times in the time for erasure.
TABLE_SECONDS = 900.0
#: Before the time for erasure is half over nothing is built for its sake: the next refresh may do.
ERASURE_BEGINS = 0.5
#: After a build that was refused or broke off the next one waits for such a part of the time.
ERASURE_AGAIN = 0.125
#: Request ids of writes stay in the table so long: the writer's promise is half of it, as what
#: another leader wrote has another clock's stamp.
REMEMBERED_SECONDS = 2 * 24 * 3600.0
#: Rows of the table older than this corpus version may be lost to whoever begins there.
FLOOR = "control/corpus_floor.json"
#: What a process that was killed while it wrote left in a folder, up to version 0.1.
STAGED = re.compile(r".*#\d+")

#: Work on the table between two of the writer's commits.
TableMaintenance = Callable[[CorpusTable], None]

log = structlog.get_logger(__name__)


def corpus_floor(store: Store) -> int:
    """Whoever knows the corpus at an older version than this must read it anew."""
    try:
        return int(store.read_json(FLOOR)["version"])
    except (NotFound, Corrupt):
        return 0


class Housekeeping:
    """Called at every look by the reconciler's thread, which is also the one that begins builds.

    :param submit: takes work on the corpus table to the thread that owns it.
    :param on_erasure_due: hears when the oldest deletion that is not done with must be, in Unix
        time; 0: none is left.
    :param on_strays: hears what in the store is none of ours, or damaged, at every look for it.
    :param wall: Unix time, for the time in which deleted documents must be gone, which goes on
        whoever leads; `ticks`: this process's own, for all else.
    """

    def __init__(
        self,
        *,
        store: Store,
        snapshots: Snapshots,
        generations: Generations,
        retention: Retention,
        controls: Controls,
        index: VectorIndex | None,
        submit: Callable[[TableMaintenance], None],
        erase_within_seconds: float,
        on_erasure_due: Callable[[float], None] = lambda due: None,
        on_strays: Callable[[list[Stray]], None] = lambda found: None,
        wall: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._generations = generations
        self._retention = retention
        self._controls = controls
        self._index = index
        self._submit = submit
        self._erase_within = erase_within_seconds
        self._on_strays = on_strays
        self._strays = Strays(store)
        self._told: set[Stray] = set()
        self._erasures = ErasureDeadlines(store, erase_within_seconds, on_erasure_due)
        self._wall = wall
        self._ticks = ticks
        self._ages, self._staged = Ages(ticks), Ages(ticks)
        self._last = self._last_table = ticks()
        self._last_strays = float("-inf")
        self._overdue = 0

    def run_when_due(self) -> None:
        now = self._ticks()
        if now - self._last >= EVERY_SECONDS or self._was_asked():
            self._last = now
            self.collect_garbage()
            self._request_rebuilds()
        if now - self._last_table >= min(TABLE_SECONDS, self._erase_within / 4):
            self._last_table = now
            self.maintain_table()
        if now - self._last_strays >= TABLE_SECONDS:
            self._last_strays = now
            self.report_strays()

    def report_strays(self) -> None:
        """Tells of what everybody passes over: of each once in the log."""
        found = self._strays.look()
        for each in set(found) - self._told:
            log.warning("passed_over", path=each.path, kind=each.kind, why=each.why)
        self._told = set(found)
        self._on_strays(found)

    def collect_garbage(self) -> int:
        """Deletes; returns how many things went."""
        plan = self._retention.plan(self._wall(), self._overdue, self._collections())
        for removal in plan:
            self._remove(removal)
        staged = self._staged_files()
        if plan or staged:
            size = sum(removal.size for removal in plan)
            log.info("tidied", things=len(plan) + staged, bytes=size)
        return len(plan) + staged

    def maintain_table(self) -> None:
        """Has rows that count no more erased, never past what an active generation needs."""
        active = self._active()
        if not active:
            self._submit(lambda table: self._erasures.in_table(table.oldest_deletion()))
            return
        floor = min(each.corpus_version for each in active)
        if floor > corpus_floor(self._store):
            self._store.write_json(FLOOR, {"version": floor, "at": self._wall()})
        since = self._wall() - REMEMBERED_SECONDS
        before = self._wall() - ERASURE_BEGINS * self._erase_within
        hours = int(min(24 * 3600.0, self._erase_within / 4) // 3600)
        # Here, as writes wait while a chore is done. What is built from now on has later versions.
        with_files = self._with_files()

        def chore(table: CorpusTable) -> None:
            # First, so that work which fails again and again does not hide that it is overdue.
            self._erasures.in_table(table.oldest_deletion())
            forgotten = table.forget(floor, since, before)
            if forgotten.deleted_upto:
                vacuum_at = self._wall() + hours * 3600.0
                self._erasures.dropped(
                    PendingErasure(forgotten.deleted_at, forgotten.deleted_upto, vacuum_at)
                )
            table.compact()
            began = self._wall()
            if table.vacuum(hours) or forgotten.rows:
                table.trim_log()
            self._erasures.vacuumed(began, with_files)
            self._erasures.in_table(table.oldest_deletion())
            self._overdue = table.deleted_before(before)
            if forgotten.rows:
                log.info("rows_erased", rows=forgotten.rows, upto=floor)

        self._submit(chore)

    def _request_rebuilds(self) -> None:
        """Files that hold documents deleted long ago go with the indexes that are made of them:
        a refresh by the same snapshot takes the place of each. So it does of an index that a
        leader changed when it led no more: what is in it is known no longer."""
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
            return  # one is being built: the next look after it will tell
        why = f"documents deleted up to version {self._overdue} must be gone"
        if late:
            why = f"a leader changed {', '.join(sorted(late))} after its end"
        log.info("asks_for_refresh", generations=stale, why=why)
        self._controls.request_refresh(why, live.snapshot)

    def _changed_late(self, active: set[str]) -> set[str]:
        """Those of the collections; that others were is of no matter any more."""
        found = changed_late(self._store)
        for path, collection in found.items():
            if collection not in active:
                self._store.delete(path)
        return active & set(found.values())

    def _with_files(self) -> list[int]:
        """The corpus versions that indexes were made of whose files are still there."""
        needed = self._retention.needed(self._overdue)
        return [each.corpus_version for each in needed.generations.values()]

    def _active(self) -> list[Generation]:
        return [
            self._generations.get(number)
            for number in self._generations.numbers()
            if (state := self._generations.state(number)) is None or state in ACTIVE
        ]

    def _remove(self, removal: Removal) -> None:
        match removal.kind:
            case "snapshot":
                self._snapshots.delete(self._snapshots.get(int(removal.name)))
            case "half a snapshot" | "history":
                self._store.delete_folder(removal.name)
            case "collection" if self._index is not None:
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

    def _staged_files(self) -> int:
        """What a killed process had half written into a folder; a bucket has no such thing."""
        if self._store.root is None:
            return 0
        root = self._store.root
        there = [
            path
            for path in (*root.rglob("*#*"), *(root / PARTIAL).glob("*"))
            if STAGED.fullmatch(path.name) or path.parent.name == PARTIAL
            if path.is_file()
        ]
        self._staged.keep({str(path) for path in there})
        found = [path for path in there if self._staged.of(str(path), None) > SETTLED_SECONDS]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def _was_asked(self) -> bool:
        if not self._store.exists(ASKED):
            return False
        self._store.delete(ASKED)
        self._last_table = self._last_strays = float("-inf")
        return True

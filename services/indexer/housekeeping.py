"""Deletes what nobody needs any more, keeps the corpus table small, and sees to it that deleted
documents are physically gone in time. What may go is `realm.retention`'s affair.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import structlog

from realm.corpus.table import CorpusTable
from realm.errors import DependencyUnavailable, NotFound
from realm.generations import ACTIVE, Generation, Generations, State
from realm.retention import ASKED, ERASED, Removal, Retention, erased_upto
from realm.search.qdrant import PassageIndex
from realm.snapshots import Snapshots
from realm.store import Store
from services.indexer.controls import Controls

EVERY_SECONDS = 60.0
#: The table is looked after so often, and at the most four times in the time for erasure.
TABLE_SECONDS = 900.0
#: Before the time for erasure is half over nothing is built for its sake: the next refresh may do.
ERASURE_BEGINS = 0.5
#: After a build that was refused or broke off the next one waits for such a part of the time.
ERASURE_AGAIN = 0.125
#: Request ids of writes are remembered so long (the writer's promise).
REMEMBERED_SECONDS = 24 * 3600.0
#: Rows of the table older than this corpus version may be lost to whoever begins there.
FLOOR = "control/corpus_floor.json"
#: What a process that was killed while it wrote leaves in a folder.
STAGED = re.compile(r".*#\d+")

#: Work on the table between two of the writer's commits.
Chore = Callable[[CorpusTable], None]

log = structlog.get_logger(__name__)


def corpus_floor(store: Store) -> int:
    """Whoever knows the corpus at an older version than this must read it anew."""
    try:
        return int(store.read_json(FLOOR)["version"])
    except NotFound:
        return 0


class Housekeeping:
    """Called at every look by the reconciler's thread, which is also the one that begins builds.

    :param submit: takes work on the corpus table to the thread that owns it.
    """

    def __init__(
        self,
        *,
        store: Store,
        snapshots: Snapshots,
        generations: Generations,
        retention: Retention,
        controls: Controls,
        index: PassageIndex | None,
        submit: Callable[[Chore], None],
        erase_within_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._generations = generations
        self._retention = retention
        self._controls = controls
        self._index = index
        self._submit = submit
        self._erase_within = erase_within_seconds
        self._clock = clock
        self._last = self._last_table = clock()
        self._overdue = 0

    def when_due(self) -> None:
        now = self._clock()
        if now - self._last >= EVERY_SECONDS or self._was_asked():
            self._last = now
            self.tidy()
            self._erase()
        if now - self._last_table >= min(TABLE_SECONDS, self._erase_within / 4):
            self._last_table = now
            self.look_after_table()

    def tidy(self) -> int:
        """Deletes; returns how many things went."""
        plan = self._retention.plan(self._clock(), self._overdue, self._collections())
        for removal in plan:
            self._remove(removal)
        staged = self._staged_files()
        if plan or staged:
            size = sum(removal.size for removal in plan)
            log.info("tidied", things=len(plan) + staged, bytes=size)
        return len(plan) + staged

    def look_after_table(self) -> None:
        """Has rows that count no more erased, never past what an active generation needs."""
        active = self._active()
        if not active:
            return
        floor = min(each.corpus_version for each in active)
        if floor > corpus_floor(self._store):
            self._store.write_json(FLOOR, {"version": floor, "at": self._clock()})
        since = self._clock() - REMEMBERED_SECONDS
        before = self._clock() - ERASURE_BEGINS * self._erase_within
        hours = int(min(24 * 3600.0, self._erase_within / 4) // 3600)

        def chore(table: CorpusTable) -> None:
            forgotten = table.forget(floor, since, before)
            if forgotten.deleted_upto > erased_upto(self._store):
                self._store.write_json(ERASED, {"version": forgotten.deleted_upto})
            table.compact()
            if table.vacuum(hours) or forgotten.rows:
                table.trim_log()
            self._overdue = table.deleted_before(before)
            if forgotten.rows:
                log.info("rows_erased", rows=forgotten.rows, upto=floor)

        self._submit(chore)

    def _erase(self) -> None:
        """Files that hold documents deleted long ago go with the indexes that are made of them:
        a refresh by the same snapshot takes the place of each."""
        active, entry = self._active(), self._generations.live()
        stale = [each.number for each in active if each.corpus_version < self._overdue]
        if not stale or entry is None:
            return
        asked = self._controls.refresh_asked()
        newest = self._generations.get(self._generations.numbers()[-1])
        if asked is not None and asked.at > newest.created_at:
            return  # it has not begun yet
        failed = self._generations.state(newest.number) in (State.REJECTED, State.ABANDONED)
        if failed and self._clock() - newest.created_at < ERASURE_AGAIN * self._erase_within:
            return
        states = {each.number: self._generations.state(each.number) for each in active}
        if {None, State.BUILDING, State.VALIDATING} & set(states.values()):
            return  # one is being built: the next look after it will tell
        live = self._generations.get(entry.generation)
        why = f"documents deleted up to version {self._overdue} must be gone"
        log.info("erasure_asks_for_refresh", generations=stale)
        self._controls.ask_refresh(why, live.snapshot)

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
                self._store.leave_no_empty(removal.name.rpartition("/")[0])
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
        oldest = self._clock() - 3600.0
        found = [
            path
            for path in self._store.root.rglob("*#*")
            if STAGED.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < oldest
        ]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def _was_asked(self) -> bool:
        try:
            self._store.read_json(ASKED)
        except NotFound:
            return False
        self._store.delete(ASKED)
        self._last_table = 0.0
        return True

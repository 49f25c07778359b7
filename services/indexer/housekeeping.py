"""Deletes what nobody needs any more: vectors, passage and changes files, snapshots.

Only what no active generation and no newest thing refers to, and only when nothing was decided
about it lately: an orphan that stays a while costs disk, a file deleted too soon costs an index.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from realm.generations import ACTIVE, Generation, Generations, State
from realm.snapshots import Snapshots
from realm.store import Store

EVERY_SECONDS = 60.0
#: Generations that ended lately keep their files: a rejected one is there to be looked at.
ENDED = frozenset({State.RETIRED, State.REJECTED, State.ABANDONED})

_NEVER = 1 << 62

log = structlog.get_logger(__name__)


class Housekeeping:
    """Called at every look by the reconciler's thread, which is also the one that begins builds."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        generations: Generations,
        retirement_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._generations = generations
        self._retirement = retirement_seconds
        self._clock = clock
        self._last = clock()

    def when_due(self) -> None:
        if self._clock() - self._last >= EVERY_SECONDS:
            self._last = self._clock()
            self.tidy()

    def tidy(self) -> int:
        """Deletes; returns how many files went."""
        needed = self._needed()
        if not needed:
            return 0
        snapshots = {self._snapshots.get(each.snapshot).name for each in needed}
        deleted = self._vectors(needed, snapshots) + self._passages(needed)
        self._old_snapshots({each.snapshot for each in needed})
        if deleted:
            log.info("tidied", files=deleted)
        return deleted

    def _needed(self) -> list[Generation]:
        """Active ones, those that ended lately, and the newest, from which the next is made."""
        numbers = self._generations.numbers()
        kept = {number for number in numbers if self._is_needed(number)} | set(numbers[-1:])
        found = [self._generations.get(number) for number in sorted(kept)]
        there = {snapshot.number for snapshot in self._snapshots.all()}
        return [generation for generation in found if generation.snapshot in there]

    def _is_needed(self, number: int) -> bool:
        events = self._generations.events(number)
        if not events or events[-1].state in ACTIVE:
            return True
        lately = self._clock() - events[-1].at <= self._retirement
        return events[-1].state in ENDED and lately

    def _vectors(self, needed: list[Generation], snapshots: set[str]) -> int:
        """Those of snapshots that no needed generation has.

        A needed snapshot keeps even its older files: an unchanged passage takes its vector over.
        """
        deleted = 0
        for name in self._store.folders("vectors"):
            if name not in snapshots and not self._is_newer(name, needed):
                files = self._store.files(f"vectors/{name}")
                self._store.delete_folder(f"vectors/{name}")
                deleted += len(files)
        return deleted

    def _is_newer(self, folder: str, needed: list[Generation]) -> bool:
        number = folder.split("-")[0]
        return not number.isdecimal() or int(number) > max(each.snapshot for each in needed)

    def _passages(self, needed: list[Generation]) -> int:
        referenced = {path for each in needed for path in each.passage_files}
        first: dict[str, int] = {}
        for each in needed:
            first[each.fingerprint] = min(
                each.corpus_version, first.get(each.fingerprint, each.corpus_version)
            )
        deleted = 0
        for path in self._store.files("passages"):
            _, fingerprint, shard, name = path.split("/", 3)
            if path in referenced:
                continue
            # The follower's next step may be in the store before it is anybody's delta.
            oldest = first.get(fingerprint, _NEVER)
            if shard == "changes" and int(name.split("-")[0]) >= oldest:
                continue
            self._store.delete(path)
            deleted += 1
        return deleted

    def _old_snapshots(self, needed: set[int]) -> None:
        """Those older than the newest that nobody refers to."""
        snapshots = self._snapshots.all()
        for snapshot in snapshots[:-1]:
            newer_than_needed = snapshot.number > max(needed)
            if snapshot.number not in needed and not newer_than_needed:
                self._snapshots.delete(snapshot)
                log.info("snapshot_deleted", snapshot=snapshot.number)

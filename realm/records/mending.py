"""Records of generations that are damaged or lost after a process has read them are put again, so
that whoever starts later finds them."""

from __future__ import annotations

from dataclasses import asdict

import structlog

from realm.errors import Corrupt, NotFound
from realm.records.generations import Generations
from realm.records.states import ACTIVE
from realm.records.store import Store

#: Generations that are not active any more whose records one call looks at.
AT_ONCE = 8

log = structlog.get_logger(__name__)


class RecordMender:
    """`mend` is called by the leader again and again. It looks at the newest entry of `live/`, at
    all active generations, and at a few of the others in turn: without its last event one of them
    would be taken for active."""

    def __init__(self, store: Store, generations: Generations) -> None:
        self._store = store
        self._generations = generations
        self._upto = 0

    def mend(self) -> list[str]:
        """The paths of what was put again."""
        records = self._generations.newest_records(self._looked_at())
        mended = [path for path in records if not self._is_whole(path)]
        for path in mended:
            log.error("record_mended", file=path)
            self._store.write_json(path, asdict(records[path]))
        return mended

    def _looked_at(self) -> list[int]:
        active: list[int] = []
        resting: list[int] = []
        for number in self._generations.numbers():
            (active if self._generations.state(number) in ACTIVE else resting).append(number)
        begin = self._upto if self._upto < len(resting) else 0
        self._upto = begin + AT_ONCE
        return active + resting[begin : self._upto]

    def _is_whole(self, path: str) -> bool:
        try:
            self._store.read_json(path)
        except (Corrupt, NotFound):
            return False
        return True

"""Leadership of the indexers: numbered terms in the store, each claimed by one conditional put.

The newest term leads, whatever Redis says: this is the fence. Beats show that its leader is at
work; watchers only ask whether they change, so no two clocks are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import structlog

from realm.errors import Corrupt, NotFound
from realm.records.store import Store

FOLDER = "control/leader"
#: Collections that a former leader changed after its term: <term>-<collection>.
STALE_WRITES = "control/late"
#: How many terms' records are kept for inspection.
KEPT_TERMS = 20
#: A file of a term.
FILE = re.compile(rf"{FOLDER}/(\d+)\.(?:json|beat|ended)", re.ASCII)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Term:
    """One leadership. `at` is Unix time, for people; `address` may be empty.

    A leader of a term below `floor` may be asleep and not know that it lost, or it was killed and
    what it had sent still arrives: the builds it began are not continued. A leader that resigned
    hands on its floor and its builds.
    """

    number: int
    by: str
    address: str
    at: float
    floor: int


class Leaders:
    """Reads and writes terms, their ends and their beats."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: The newest that was read.
        self._known: Term | None = None

    def newest_number(self) -> int:
        """The newest term; 0 before the first."""
        return max(self._files().values(), default=0)

    def newest(self) -> Term | None:
        """None before the first."""
        return self.look()[0]

    def look(self, listed: Iterable[str] | None = None) -> tuple[Term | None, bool]:
        """The newest term, and whether its leader has ended it, by one list: a record never
        changes, so that only a new one is read.

        :param listed: files of the store, all of `FOLDER` among them, if they are known.
        """
        files = self._files(listed)
        number = max(files.values(), default=0)
        if not number:
            return None, False
        if self._known is None or self._known.number != number:
            found = self.record(number)
            self._known = found if found.by else None
            return found, _path(number, "ended") in files
        return self._known, _path(number, "ended") in files

    def record(self, number: int) -> Term:
        """As it is in the store now. Of a damaged or lost one only the number is known: who claimed
        it may be anybody, and asleep."""
        try:
            return self._store.read_record(_record(number), Term)
        except (Corrupt, NotFound) as error:
            log.error("term_unreadable", why=error.message)
            return Term(number, "", "", 0.0, floor=number)

    def claim(self, term: Term) -> None:
        """:raises Conflict: if somebody else claimed it first."""
        self._store.create_json(_record(term.number), asdict(term))

    def mend(self, term: Term) -> None:
        """Puts the record of a term that is held again, where it is damaged or lost."""
        self._store.write_json(_record(term.number), asdict(term))

    def beat(self, number: int, beat: int) -> None:
        self._store.write(_path(number, "beat"), str(beat).encode())

    def last_beat(self, number: int) -> str:
        """The newest beat of a term; empty before the first."""
        try:
            return self._store.read(_path(number, "beat")).decode(errors="replace")
        except NotFound:
            return ""

    def end(self, number: int) -> None:
        """Records that the leader stopped and left nothing half done."""
        self._store.write(_path(number, "ended"), b"")

    def record_stale_write(self, number: int, collection: str) -> None:
        """Records that the leader of a term changed a collection after its end."""
        self._store.write(f"{STALE_WRITES}/{number:012d}-{collection}", b"")

    def forget_old(self) -> None:
        """Deletes the records of terms older than the last `KEPT_TERMS`."""
        oldest = self.newest_number() - KEPT_TERMS
        self._store.delete_all([path for path, number in self._files().items() if number <= oldest])

    def _files(self, listed: Iterable[str] | None = None) -> dict[str, int]:
        """What is left of terms: the term's number by path."""
        files = self._store.files(FOLDER) if listed is None else listed
        found = (FILE.fullmatch(path) for path in files)
        return {each[0]: int(each[1]) for each in found if each}


def stale_writes(store: Store) -> dict[str, str]:
    """Collections changed by a leader after its term, by the record's path."""
    return {path: path.rpartition("/")[2].partition("-")[2] for path in store.files(STALE_WRITES)}


def _path(number: int, kind: str) -> str:
    return f"{FOLDER}/{number:012d}.{kind}"


def _record(number: int) -> str:
    return _path(number, "json")

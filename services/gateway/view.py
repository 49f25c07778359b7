"""What the store says: what is live, how fresh generations are, and which may be asked."""

from __future__ import annotations

from dataclasses import dataclass

from realm.errors import NotFound
from realm.records.controls import FOLDER, damaged_among
from realm.records.generation import LiveEntry
from realm.records.generations import Generations
from realm.records.leaders import Leaders
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.gateway.serving import Freshness


@dataclass(frozen=True, slots=True)
class View:
    """What the store says now; `leader` is the leading indexer's address, empty if unknown.
    `entry` is what is live: None if nothing is, or it cannot be told, for `unreadable`."""

    entry: LiveEntry | None
    unreadable: str | None
    freshness: dict[int, Freshness]
    leader: str


class StoreView:
    """Reads the store: what is live, and how fresh generations are."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._leaders = Leaders(store)
        self.generations = Generations(store)
        self.snapshots = Snapshots(store)

    def read(self, wanted: set[int]) -> View:
        """:param wanted: generations to report on beside the live one."""
        # The one before it would take its clients back: whoever serves keeps what it has.
        newest, unreadable = self.generations.newest()
        entry = None if unreadable else newest
        published = self.snapshots.all()
        numbers = wanted | ({entry.generation} if entry else set())
        control = self.store.files(FOLDER)
        term, _ = self._leaders.look(control)
        lost = damaged_among(control)
        freshness = {
            each.number: Freshness(
                corpus_version=self.generations.applied(each.number),
                lag=each.lag(published),
                damaged=each.number in lost,
            )
            for number in numbers
            if (each := self.generations.find(number)) is not None
        }
        return View(entry, unreadable, freshness, term.address if term else "")

    def entry_of(self, number: int) -> LiveEntry:
        """What made a generation live that may be asked: it is live, or retained.

        :raises NotFound: naming those that may.
        """
        served = sorted(self.generations.served(), reverse=True)
        entry = self.generations.entry_of(number) if number in served else None
        if entry is None:
            named = " or ".join(map(str, served))
            raise NotFound(
                f"generation {number} is neither live nor retained: ask {named}, or name none"
                if served
                else f"there is no generation {number}, nothing is live yet",
                generation=number,
                available=",".join(map(str, served)),
            )
        return entry

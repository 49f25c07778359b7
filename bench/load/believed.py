"""What the load generator believes of each document, to choose what to ask for and what to write.

Only a choice: what must be found is judged afterwards, from the history.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.history.events import Revision
from realm.errors import NotFound

NEW_SHARE = 0.4


@dataclass(slots=True)
class Belief:
    """`revision` is None if it is deleted, `newest` the newest ever sent, `version` that of the
    write. `doubtful` after a write of unknown fate, until a read decides."""

    revision: int | None
    newest: int
    version: int = 0
    busy: bool = False
    doubtful: bool = False


class Believed:
    """All documents; `version` is the newest acknowledged corpus version, `written` names those
    that were written under load."""

    def __init__(self, seed: int) -> None:
        self.version = 0
        self.written: set[str] = set()
        self._documents: dict[str, Belief] = {}
        self._rng = random.Random(seed)
        self._new = 0

    def names(self) -> list[str]:
        return [*self._documents]

    def wrote(self, document: str, revision: int | None, version: int) -> None:
        """A write was acknowledged."""
        newest = self.newest(document) if revision is None else revision
        self._documents[document] = Belief(revision, newest, version)
        self.version = max(self.version, version)

    def unsure(self, document: str) -> None:
        """A write may have taken place, or may yet."""
        mine = self._documents[document]
        mine.doubtful, mine.busy = True, False

    def read(self, document: str, revision: int | None, version: int) -> None:
        """What a read of a doubtful one showed."""
        mine = self._documents[document]
        mine.revision, mine.version, mine.doubtful = revision, version, False

    def newest(self, document: str) -> int:
        """-1 before the first."""
        return self._documents[document].newest if document in self._documents else -1

    def in_doubt(self) -> str | None:
        """The first document whose last write may have taken place or not."""
        return next((name for name, mine in self._documents.items() if mine.doubtful), None)

    def present(self) -> dict[str, int]:
        """Documents that nobody is writing, whose text is known, and its revision."""
        return {
            document: mine.revision
            for document, mine in self._documents.items()
            if mine.revision is not None and not mine.busy and not mine.doubtful
        }

    def something(self) -> tuple[Revision, int]:
        """A document that must be found by the words of that revision, and its version.

        :raises NotFound: if the fate of every document is open.
        """
        if not (known := [*self.present()]):
            raise NotFound("every document is being written, or a read has yet to tell of it")
        document = self._rng.choice(known)
        mine = self._documents[document]
        return Revision(document, mine.revision), mine.version

    def begin_write(self, *, delete: bool) -> Revision:
        """Chooses a document that no write is under way for; each write has a revision of its own,
        so that what is seen tells which of them took place."""
        idle = [*self.present()]
        if delete and idle:
            document = self._rng.choice(idle)
            self._documents[document].busy = True
            self.written.add(document)
            return Revision(document, None)
        if not idle or self._rng.random() < NEW_SHARE:
            self._new += 1
            document = f"new-{self._new}"
        else:
            document = self._rng.choice(idle)
        revision = self.newest(document) + 1
        mine = self._documents.setdefault(document, Belief(None, revision))
        mine.newest, mine.busy = revision, True
        self.written.add(document)
        return Revision(document, revision)

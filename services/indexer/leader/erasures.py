"""Which deleted documents are not yet physically gone, and when the oldest of them must be.

A deletion waits in the table first, until no index in use was made before it; then in the table's
old files, until they are vacuumed, and in indexes that ended lately. The last two waits are noted
in the store, as the table knows nothing of the document any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from realm.errors import Corrupt, NotFound
from realm.records.json_records import as_record
from realm.records.retention import ERASED, erased_upto
from realm.records.store import Store


@dataclass(frozen=True, slots=True)
class PendingErasure:
    """Deletions up to a corpus version, the oldest at `deleted_at`, whose rows the table has
    dropped; a vacuum after `vacuum_at` takes their files. Unix times."""

    deleted_at: float
    version: int
    vacuum_at: float


class ErasureDeadlines:
    """Keeps account; deletes nothing.

    :param on_due: hears when the oldest must be gone, in Unix time; 0: none waits.
    """

    def __init__(
        self, store: Store, within_seconds: float, on_due: Callable[[float], None]
    ) -> None:
        self._store = store
        self._within = within_seconds
        self._on_due = on_due
        self._in_table: float | None = None

    def in_table(self, oldest: float | None) -> None:
        """When the oldest deletion was made that the table still tells of; None: it has none."""
        self._in_table = oldest
        self._tell(self._waiting())

    def dropped(self, deletions: PendingErasure) -> None:
        """The table has dropped their rows."""
        self._write([*self._waiting(), deletions])

    def vacuumed(self, now: float, indexes: Iterable[int]) -> None:
        """A vacuum was done; `indexes` are the corpus versions that those which still have files
        were made of."""
        oldest = min(indexes, default=None)
        before = self._waiting()
        left = [
            each
            for each in before
            if now < each.vacuum_at or (oldest is not None and oldest < each.version)
        ]
        if left != before:
            self._write(left)

    def _write(self, waiting: list[PendingErasure]) -> None:
        upto = max(erased_upto(self._store), *(each.version for each in waiting), 0)
        rows = [asdict(each) for each in waiting]
        self._store.write_json(ERASED, {"version": upto, "waiting": rows})
        self._tell(waiting)

    def _waiting(self) -> list[PendingErasure]:
        try:
            rows = self._store.read_json(ERASED).get("waiting", [])
            return [as_record(PendingErasure, row, ERASED) for row in rows]
        except (NotFound, Corrupt):
            return []

    def _tell(self, waiting: list[PendingErasure]) -> None:
        times = [each.deleted_at for each in waiting]
        if self._in_table is not None:
            times.append(self._in_table)
        self._on_due(min(times) + self._within if times else 0.0)

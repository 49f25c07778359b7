"""Parked documents: what no embedder can embed is left out of every index, and reported.

A record is of one version of a document; a newer version or the document's deletion frees it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from realm.corpus.documents import shown
from realm.corpus.table import DocumentState
from realm.records.json_records import KnownRecords
from realm.records.store import Store

FOLDER = "parked"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parked:
    """A document's version that the embedders of a snapshot cannot embed, why, and when that was
    found (Unix time)."""

    document_id: str
    version: int
    snapshot: int
    why: str
    at: float


class ParkedDocuments:
    """The records in the store. The leader alone writes them; anybody may read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = KnownRecords(store, Parked, "parked_record_skipped", _path)
        #: An index that lags behind must not try again what has been freed since.
        self._freed: set[tuple[str, int]] = set()

    def all(self) -> list[Parked]:
        """Longest parked first."""
        found = (self._records.find(path) for path in self._store.files(FOLDER))
        return sorted((each for each in found if each is not None), key=lambda each: each.at)

    def park(self, state: DocumentState, snapshot: int, why: str) -> None:
        parked = Parked(state.document_id, state.version, snapshot, why, time.time())
        self._store.write_json(_path(parked), asdict(parked))
        log.error(
            "document_parked", document=shown(state.document_id), version=state.version, why=why
        )

    def leave_out(self, states: Iterable[DocumentState]) -> list[DocumentState]:
        """The states with each parked one as if the document were deleted: what is older of it
        goes from the index. Frees those that the states are newer than."""
        parked = {each.document_id: each for each in self.all()}
        found: list[DocumentState] = []
        for state in states:
            mine = parked.get(state.document_id)
            if mine is not None and mine.version < state.version:
                self._free(mine)
                mine = None
            known = (state.document_id, state.version)
            left_out = known in self._freed or (mine is not None and mine.version == state.version)
            found.append(replace(state, document=None) if left_out else state)
        return found

    def left_out_of_all(self, states: Iterable[DocumentState]) -> list[DocumentState]:
        """As `leave_out`, and with every parked document among them: those that a passage file
        made before may still hold."""
        found = self.leave_out(states)
        there = {state.document_id for state in found}
        return found + [
            DocumentState(each.document_id, each.version, None, 0)
            for each in self.all()
            if each.document_id not in there
        ]

    def among(self, passages: pa.Table) -> list[DocumentState]:
        """Those of which a table has passages, as if the documents were deleted."""
        states = (DocumentState(each.document_id, each.version, None, 0) for each in self.all())
        return [each for each in states if pc.any(_of(passages, each)).as_py()]

    def _free(self, parked: Parked) -> None:
        self._freed.add((parked.document_id, parked.version))
        self._store.delete(_path(parked))
        self._records.known.pop(_path(parked), None)


def _path(parked: Parked) -> str:
    name = f"{parked.version}:{parked.document_id}"
    return f"{FOLDER}/{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def _of(passages: pa.Table, state: DocumentState) -> pa.ChunkedArray:
    mine = pc.equal(passages["document_id"], state.document_id)
    return pc.and_(mine, pc.equal(passages["document_version"], state.version))

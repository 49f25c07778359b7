"""Writes that depend on what the corpus holds: decided by the writer, right before the commit.

Nothing is written between the decision and the commit, so nobody can put another's document in the
place of one that was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from realm.corpus.documents import shown
from realm.corpus.table import Change, CorpusTable, DocumentState
from realm.errors import FailedPrecondition
from realm.filters import matches
from realm.v1.types_pb2 import Filter

#: Most documents that one call deletes by a filter alone.
MOST_DELETED = 10_000

#: From the corpus as it is to what is written; may refuse by `FailedPrecondition`.
Decide = Callable[[CorpusTable], Sequence[Change]]


def replacing_only(given: Filter, changes: Sequence[Change]) -> Decide:
    """The upserts, if they match, and if all that they replace does."""

    def decide(table: CorpusTable) -> Sequence[Change]:
        replaced = table.newest([each.document_id for each in changes])
        for change in changes:
            assert change.document is not None
            if not matches(given, change.document.metadata):
                raise FailedPrecondition(
                    f"document {shown(change.document_id)} does not match the filter that the write"
                    " is bound to: nothing was written"
                )
            before = replaced.get(change.document_id)
            if before is not None and before.document is not None and not passes(given, before):
                raise FailedPrecondition(
                    f"document {shown(change.document_id)} is one that this call may not replace:"
                    " nothing was written, choose another id"
                )
        return changes

    return decide


class Deletion:
    """Deletes what matches, of some documents or of all; `deleted` and `more` tell what it did."""

    def __init__(self, given: Filter, request_id: str, digest: str) -> None:
        self._filter = given
        self._request_id = request_id
        self.digest = digest
        self.deleted = 0
        self.more = False

    def of(self, document_ids: Sequence[str]) -> Decide:
        def decide(table: CorpusTable) -> Sequence[Change]:
            states = table.newest(document_ids)
            return self._changes(name for name, each in states.items() if self._passes(each))

        return decide

    def of_all(self, found: Sequence[str], version: int, more: bool) -> Decide:
        """:param found: those that matched at a version; `more`: there were others."""

        def decide(table: CorpusTable) -> Sequence[Change]:
            changed = {each.document_id: each for each in table.changes(version, table.version)}
            ids = [each for each in found if each not in changed]
            ids += [name for name, each in changed.items() if self._passes(each)]
            self.more = more or len(ids) > MOST_DELETED
            return self._changes(ids[:MOST_DELETED])

        return decide

    def _passes(self, state: DocumentState) -> bool:
        return passes(self._filter, state)

    def _changes(self, document_ids: Iterable[str]) -> Sequence[Change]:
        ids = list(document_ids)
        self.deleted = len(ids)
        # Without any the request is a write all the same: sent again, it deletes nothing either.
        return [Change(each, None, self._request_id, self.digest) for each in ids or [""]]


def passes(given: Filter, state: DocumentState) -> bool:
    """Whether a document exists and matches."""
    return state.document is not None and matches(given, state.document.metadata)

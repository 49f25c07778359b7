"""Which rows of the corpus table count no more, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ERASED: Literal["erased"] = "erased"
#: What else a purge may do with a row.
KEPT, DROPPED = "kept", "dropped"
#: Columns that decide which rows still count; no texts.
MARKS = ["version", "op", "document_id", "written_at"]


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """How many rows were erased or dropped; of the deletions among them the newest version, and
    when the oldest was made (Unix time); 0 if there was none."""

    rows: int
    deleted_upto: int
    deleted_at: float


def fates_of(
    marks: pa.Table, upto: int, requests_since: float, deletions_before: float
) -> tuple[pa.Array, PurgeResult]:
    """What becomes of each row (KEPT, ERASED, DROPPED), and what that makes in all; those after
    the version `upto` stay."""
    ops, documents = marks["op"].to_pylist(), marks["document_id"].to_pylist()
    versions, written = marks["version"].to_pylist(), marks["written_at"].to_pylist()
    newest: dict[str, int] = {}
    for row, (op, document_id) in enumerate(zip(ops, documents, strict=True)):
        before = newest.get(document_id)
        if (
            op != ERASED
            and versions[row] <= upto
            and (before is None or versions[row] >= versions[before])
        ):
            newest[document_id] = row
    gone = [r for r in newest.values() if ops[r] == "delete" and written[r] < deletions_before]
    states = set(newest.values()) - set(gone)
    fates = [
        KEPT if row in states or versions[row] > upto or (op == ERASED and at >= requests_since)
        else ERASED if at >= requests_since
        else DROPPED
        for row, (op, at) in enumerate(zip(ops, written, strict=True))
    ]  # fmt: skip
    deleted_upto = max((versions[row] for row in gone), default=0)
    deleted_at = min((written[row] for row in gone), default=0.0)
    count = len(fates) - fates.count(KEPT)
    return pa.array(fates, pa.string()), PurgeResult(count, deleted_upto, deleted_at)


def purged(rows: pa.Table, fates: pa.Array) -> pa.Table:
    """The rows as they are to be."""
    table = [
        _erased(row) if fate == ERASED else row
        for row, fate in zip(rows.to_pylist(), fates.to_pylist(), strict=True)
        if fate != DROPPED
    ]
    return pa.Table.from_pylist(table, schema=rows.schema)


def _erased(row: dict[str, object]) -> dict[str, object]:
    texts = dict.fromkeys(("title", "text", "metadata", "answer"))
    return {**row, **texts, "document_id": "", "bucket": 0, "op": ERASED}

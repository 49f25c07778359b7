"""Changes files: the documents changed in corpus versions after < version ≤ upto.

The passages of those that exist, as an ordinary passage table, which the embedder encodes; and
in the schema's metadata every changed document, deletions too. Equal inputs give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.compute as pc

from realm.corpus.passage_files import cut
from realm.corpus.passages import Passage, from_table
from realm.errors import Corrupt
from realm.model.inputs import InputBuilder
from realm.records import arrow
from realm.records.store import Store

if TYPE_CHECKING:  # readers of changes need no table
    from realm.corpus.table import DocumentState, Write

DOCUMENTS = "documents"
#: What applying a document costs beside embedding it, in characters.
DOCUMENT_COST = 500


@dataclass(frozen=True, slots=True)
class ChangedDocument:
    """A document and the corpus version of its newest state in the range."""

    document_id: str
    version: int
    op: Literal["upsert", "delete"]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a changes file holds; `passages` are those of the upserted documents."""

    documents: tuple[ChangedDocument, ...]
    passages: tuple[Passage, ...]


def changes_file(fingerprint: str, after: int, upto: int) -> str:
    return f"passages/{fingerprint}/changes/{after:012d}-{upto:012d}.arrow"


def costs(writes: Sequence[Write]) -> list[tuple[int, int]]:
    """Of steps that end with each version of the writes: the version, and what they would cost in
    characters to embed.

    A document counts in its newest state alone: what is deleted or replaced later costs nothing.

    :param writes: in the order of their versions.
    """
    found: list[tuple[int, int]] = []
    newest: dict[str, int] = {}
    total = 0
    for write in writes:
        cost = DOCUMENT_COST + write.characters
        total += cost - newest.get(write.document_id, 0)
        newest[write.document_id] = cost
        if found and found[-1][0] == write.version:
            found.pop()
        found.append((write.version, total))
    return found


def step_end(writes: Sequence[Write], upto: int, budget: int) -> tuple[int, int]:
    """Where a step ends that takes whole versions, and what it costs: the longest within the
    budget; if the first version is beyond it, the longest of those that cost least.

    :param writes: those after the step's beginning and up to `upto`, in the order of versions.
    """
    possible = costs(writes)
    if not possible or possible[-1][1] <= budget:
        return upto, possible[-1][1] if possible else 0
    within = [each for each in possible if each[1] <= budget]
    if within:
        return within[-1]
    least = min(cost for _, cost in possible)
    return [each for each in possible if each[1] == least][-1]


def write_changes(
    store: Store, path: str, states: Sequence[DocumentState], inputs: InputBuilder
) -> None:
    documents = [
        ChangedDocument(state.document_id, state.version, "upsert" if state.document else "delete")
        for state in states
    ]
    about = {DOCUMENTS: json.dumps([asdict(document) for document in documents])}
    arrow.write_table(store, path, cut(states, inputs).replace_schema_metadata(about))


def read_changes(store: Store, path: str) -> Changes:
    """:raises NotFound, Corrupt:"""
    table = arrow.read_table(store, path)
    try:
        rows = json.loads(arrow.metadata(table)[DOCUMENTS])
        documents = tuple(ChangedDocument(**row) for row in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{path} does not say which documents changed: {error}", file=path) from error
    return Changes(documents, tuple(from_table(table)))


def leave_out(store: Store, path: str, documents: Sequence[DocumentState]) -> None:
    """Takes the passages of documents out of a changes file; their older ones still go.

    :raises NotFound, Corrupt:
    """
    table = arrow.read_table(store, path)
    gone = pa.array([each.document_id for each in documents], pa.string())
    kept = pc.invert(pc.is_in(table["document_id"], value_set=gone))
    arrow.write_table(store, path, table.filter(kept))

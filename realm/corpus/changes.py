"""Changes files: the documents changed in corpus versions after < version ≤ upto.

The passages of those that exist, as an ordinary passage table, which the embedder encodes; and
in the schema's metadata every changed document, deletions too. Equal inputs give equal files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from realm import arrow
from realm.corpus.passage_files import cut
from realm.corpus.passages import Passage, from_table
from realm.errors import Corrupt
from realm.model.inputs import InputBuilder
from realm.store import Store

if TYPE_CHECKING:  # the table needs deltalake, which readers of changes need not have
    from realm.corpus.table import DocumentState

DOCUMENTS = "documents"


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


def step_end(versions: Iterable[int], upto: int, limit: int) -> int:
    """Where a step ends that takes whole versions and about `limit` documents at the most.

    :param versions: the version of each changed document, `upto` the newest corpus version.
    """
    ordered = sorted(versions)
    return upto if len(ordered) <= limit else ordered[limit - 1]


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

"""How passages lie in a collection, and which of them a change is about: pure translation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qdrant_client import models

from realm.corpus.passages import Passage
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.search.bm25 import SparseVector, passage_weights
from realm.search.qdrant.filters import payload_of

DENSE = "dense"
BM25 = "bm25"
ANSWER = "answer"
#: The point that says up to which corpus version its collection holds every change. It has no
#: vectors, so that no search finds it, and is no passage.
MARK = "00000000-0000-0000-0000-000000000000"
MARKED_VERSION = "corpus_version"
PAYLOAD = ("document_id", "document_version", "ordinal", "title", "text", "start", "end")


def to_point(passage: Passage, vector: Vectors, weighing: Weighing) -> models.PointStruct:
    weights = passage_weights(passage.terms, passage.term_counts, weighing)
    dense = {DENSE: vector.tolist()} if vector.size else {}
    return models.PointStruct(
        id=passage.passage_id,
        vector={**dense, BM25: to_sparse(weights)},
        payload={
            **{name: getattr(passage, name) for name in PAYLOAD},
            **({ANSWER: passage.answer} if passage.answer else {}),
            **payload_of(passage.metadata),
        },
    )


def to_mark(version: int) -> models.PointStruct:
    return models.PointStruct(id=MARK, vector={}, payload={MARKED_VERSION: version})


def not_newer_mark(version: int) -> models.Filter:
    upto = models.FieldCondition(key=MARKED_VERSION, range=models.Range(lte=version))
    return models.Filter(must=[upto])


def marked_version(records: Sequence[models.Record]) -> int:
    """What the marks say that were read; 0: there is none."""
    return max((int((each.payload or {}).get(MARKED_VERSION, 0)) for each in records), default=0)


def to_sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices, values=vector.values)


def of_documents(document_ids: Sequence[str]) -> models.Filter:
    return models.Filter(must=_of(document_ids))


def _of(document_ids: Sequence[str]) -> list[models.FieldCondition]:
    theirs = models.MatchAny(any=list(document_ids))
    return [models.FieldCondition(key="document_id", match=theirs)]


def older_than(versions: Mapping[str, int]) -> models.Filter:
    """Passages of documents, by their ids, that are older than these versions of them."""
    written_together: dict[int, list[str]] = {}
    for document_id, version in versions.items():
        written_together.setdefault(version, []).append(document_id)
    older = [
        models.Filter(
            must=[
                *_of(document_ids),
                models.FieldCondition(key="document_version", range=models.Range(lt=version)),
            ]
        )
        for version, document_ids in written_together.items()
    ]
    return models.Filter(should=older)


def not_newer_than(version: int) -> models.Filter:
    upto = models.FieldCondition(key="document_version", range=models.Range(lte=version))
    return models.Filter(must=[upto])

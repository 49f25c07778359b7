"""What a passage carries into a framework: its document's metadata, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator

from realm.v1.retrieval_pb2 import RetrievedPassage, RetrievePassagesResponse
from realm.v1.types_pb2 import Passage

#: Of our keys, so that none is one of a document's own metadata.
PREFIX = "realm_"

Metadata = dict[str, str | int | float | bool]


def described(found: RetrievePassagesResponse) -> Iterator[tuple[Passage, float, Metadata]]:
    """Each passage, best first, with its score f(x, z) and its metadata."""
    for each in found.passages:
        own = {f"{PREFIX}{name}": value for name, value in _origin(each, found).items()}
        yield each.passage, each.score, {**each.passage.metadata, **own}


def _origin(one: RetrievedPassage, found: RetrievePassagesResponse) -> Metadata:
    """Offsets are in characters of the document; `probability` is p(z|x) among those found."""
    passage, version = one.passage, found.index_version
    return {
        "document_id": passage.document_id,
        "document_version": passage.document_version,
        "title": passage.title,
        "start": passage.start,
        "end": passage.end,
        **({"answer": passage.answer} if passage.answer else {}),
        "score": one.score,
        "probability": one.probability,
        "generation": version.generation,
        "snapshot": version.snapshot,
        "step": version.step,
        "corpus_version": version.corpus_version,
        "words_alone": version.words_alone,
    }

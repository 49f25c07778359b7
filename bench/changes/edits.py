"""The corpus and the hundredth of it that changes: which calls, in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.corpus import Author
from realm.client import Client
from realm.corpus.documents import Document
from realm.v1.types_pb2 import Document as DocumentMessage

BATCH = 200
CHANGED_SHARE = 0.01
#: Of those that change: the others are edited.
DELETED_SHARE = ADDED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Edits:
    """`upserts` are edits of documents and new ones; all distinct from `deletions`."""

    upserts: list[Document]
    deletions: list[str]


def first_corpus(author: Author, documents: int) -> list[Document]:
    return [author.write(f"base-{number}", 0) for number in range(documents)]


def edits(author: Author, documents: int, seed: int) -> Edits:
    """One document in a hundred: mostly edited, some deleted, some new."""
    rng = random.Random(seed)
    count = max(3, round(documents * CHANGED_SHARE))
    added = max(1, round(count * ADDED_SHARE))
    deleted = max(1, round(count * DELETED_SHARE))
    chosen = rng.sample([f"base-{number}" for number in range(documents)], count - added)
    edited = [author.write(each, 1) for each in chosen[deleted:]]
    new = [author.write(f"new-{number}", 0) for number in range(added)]
    return Edits([*edited, *new], chosen[:deleted])


def send(client: Client, documents: Sequence[Document]) -> int:
    """One call after the other, so that every corpus gives the same versions."""
    version = 0
    for start in range(0, len(documents), BATCH):
        messages = [
            DocumentMessage(id=each.id, title=each.title, text=each.text)
            for each in documents[start : start + BATCH]
        ]
        version = client.upsert(messages).corpus_version
    return version


def change(client: Client, changes: Edits) -> int:
    """Returns the corpus version that holds all of them."""
    send(client, changes.upserts)
    return client.delete(changes.deletions).corpus_version

"""Documents that the benches write: each revision of each has words that no other has."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from realm.client import Client, document
from realm.corpus.documents import Document
from realm.v1 import types_pb2

SENTENCE_WORDS = (7, 11)
#: Words of a document that stand in all its sentences: so each leads to the others, as the gate's
#: probes need, which are looked for in passages without their sentence.
SHARED_WORDS = 4
#: From one passage of the tiny model to four, so that an edit also takes passages away.
SENTENCES = (3, 30)
QUESTION_WORDS = 48
SHORTEST_WORD = 4
#: Key of a document's metadata: which revision its text is. Every passage of it says so.
REVISION = "revision"
CHANGED_SHARE = 0.01
#: Of those that change: the others are edited.
DELETED_SHARE = ADDED_SHARE = 0.1


def as_line(made: Document) -> str:
    """Of a JSONL file that is imported."""
    return json.dumps({"id": made.id, "title": made.title, "text": made.text}) + "\n"


@dataclass(frozen=True, slots=True)
class DocumentWriter:
    """Writes the same text whenever it is asked for the same document and revision.

    `sentences` are the fewest and the most of a document.
    """

    words: Sequence[str]
    seed: int = 0
    sentences: tuple[int, int] = SENTENCES

    def write(self, document_id: str, revision: int) -> Document:
        rng = random.Random(f"{self.seed}:{document_id}:{revision}")
        shared = rng.choices(self.words, k=SHARED_WORDS)
        sentences = [self._sentence(rng, shared) for _ in range(rng.randint(*self.sentences))]
        title = f"{rng.choice(self.words)} {document_id}"
        return Document(document_id, title, " ".join(sentences), {REVISION: str(revision)})

    def question(self, document_id: str, revision: int) -> str:
        """Title and first words, which find this revision and nothing else."""
        made = self.write(document_id, revision)
        return " ".join([made.title, *made.text.split()[:QUESTION_WORDS]])

    def _sentence(self, rng: random.Random, shared: Sequence[str]) -> str:
        own = rng.choices(self.words, k=rng.randint(*SENTENCE_WORDS) - len(shared))
        return " ".join([*own, *shared]).capitalize() + "."


def whole_words(vocabulary: Sequence[str]) -> list[str]:
    """The whole words of a WordPiece vocabulary, in its order."""
    return [
        word
        for word in vocabulary
        if len(word) >= SHORTEST_WORD and word.isascii() and word.isalpha() and word.islower()
    ]


def first_ids(count: int) -> list[str]:
    return [f"base-{number}" for number in range(count)]


def first_documents(writer: DocumentWriter, count: int) -> list[Document]:
    return [writer.write(each, 0) for each in first_ids(count)]


def write_probes(folder: Path, writer: DocumentWriter, count: int) -> Path:
    """A question for each of the first documents, in its words: encoders of random weights find
    nothing by what a text is about, which the gate's own probes ask for."""
    file = folder / "probes.jsonl"
    names = first_ids(count)
    rows = [{"question": writer.question(each, 0), "document_id": each} for each in names]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@dataclass(frozen=True, slots=True)
class Edits:
    """`upserts` are edits of documents and new ones; all distinct from `deletions`."""

    upserts: list[Document]
    deletions: list[str]


def edits(writer: DocumentWriter, documents: int, seed: int) -> Edits:
    """One document in a hundred: mostly edited, some deleted, some new."""
    rng = random.Random(seed)
    count = max(3, round(documents * CHANGED_SHARE))
    added = max(1, round(count * ADDED_SHARE))
    deleted = max(1, round(count * DELETED_SHARE))
    chosen = rng.sample(first_ids(documents), count - added)
    edited = [writer.write(each, 1) for each in chosen[deleted:]]
    new = [writer.write(f"new-{number}", 0) for number in range(added)]
    return Edits([*edited, *new], chosen[:deleted])


def send(client: Client, documents: Sequence[Document], batch: int = 200) -> int:
    """Writes one batch after another, so that the same calls give the same corpus versions.

    Returns the version that holds all of them.
    """
    version = 0
    for start in range(0, len(documents), batch):
        some = documents[start : start + batch]
        version = client.upsert(map(message, some)).corpus_version
    return version


def message(made: Document) -> types_pb2.Document:
    """As a client sends it."""
    return document(made.id, made.text, title=made.title, metadata=made.metadata)


def send_edits(client: Client, changes: Edits) -> int:
    """Returns the corpus version that holds all of them."""
    send(client, changes.upserts)
    return client.delete(changes.deletions).corpus_version

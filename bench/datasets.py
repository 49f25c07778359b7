"""Real documents and questions: SQuAD's if the data lies beside the project, else the
documentation of Python, asked for with sentences of its own."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from realm.corpus.documents import Document
from realm.corpus.python_docs import python_documents
from realm.text.cloze import inverse_cloze

DATA = Path(__file__).parents[1].parent / "shared" / "data"
SQUAD = DATA / "squad_open"
PYTHON_DOCUMENTS = 120
PYTHON_CHARACTERS = 1500


@dataclass(frozen=True, slots=True)
class QAExample:
    """A question, the document that answers it, and its answers, if known."""

    question: str
    document_id: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Documents and questions about them, in random order; `source` names them."""

    source: str
    documents: list[Document]
    questions: list[QAExample]

    def first(self, documents: int) -> Dataset:
        """The first documents, and all questions about them."""
        kept = self.documents[:documents]
        names = {document.id for document in kept}
        asked = [each for each in self.questions if each.document_id in names]
        return Dataset(self.source, kept, asked)


def has_squad() -> bool:
    return SQUAD.is_dir()


def squad(seed: int) -> Dataset:
    """The documents that the dev questions are about: no training question is about any."""
    rows = _lines(SQUAD / "questions.dev.jsonl")
    asked = [QAExample(r["question"], r["document_id"], tuple(r["answers"])) for r in rows]
    named = {each.document_id for each in asked}
    found = [r for r in _lines(SQUAD / "documents.jsonl") if r["id"] in named]
    documents = [Document(row["id"], row["title"], row["text"]) for row in found]
    return _shuffled("squad_open dev", documents, asked, seed)


def squad_distractors() -> list[Document]:
    """The documents that no dev question is about."""
    named = {row["document_id"] for row in _lines(SQUAD / "questions.dev.jsonl")}
    rows = _lines(SQUAD / "documents.jsonl")
    return [Document(r["id"], r["title"], r["text"]) for r in rows if r["id"] not in named]


def wikitext() -> list[Document]:
    """Articles that no question is about; none where the data does not lie beside the project."""
    file = DATA / "wikitext" / "documents.jsonl"
    rows = _lines(file) if file.exists() else []
    return [Document(row["id"], row["title"], row["text"]) for row in rows]


def distractors() -> list[Document]:
    """What no dev question is about: the rest of SQuAD, and wikitext; none without the data."""
    return [*squad_distractors(), *wikitext()] if has_squad() else []


def python_docs(seed: int) -> Dataset:
    """The beginnings of pages, and sentences of theirs as questions."""
    documents = [
        Document(each.id, each.title, each.text[:PYTHON_CHARACTERS])
        for each in list(python_documents())[:PYTHON_DOCUMENTS]
    ]
    asked: list[QAExample] = []
    for document in documents:
        rng = random.Random(document.id)
        sentences = {pair[0] for _ in range(12) if (pair := inverse_cloze(document.text, rng))}
        asked += [QAExample(sentence, document.id) for sentence in sorted(sentences)]
    return _shuffled("Python documentation", documents, asked, seed)


def any_dataset(seed: int) -> Dataset:
    return squad(seed) if has_squad() else python_docs(seed)


def _shuffled(
    source: str, documents: Sequence[Document], asked: Sequence[QAExample], seed: int
) -> Dataset:
    rng = random.Random(seed)
    return Dataset(source, rng.sample(documents, len(documents)), rng.sample(asked, len(asked)))


def _lines(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]

"""What questions are asked of: documents, and questions that name theirs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.datasets import SQUAD
from realm.corpus.documents import Document, stable_bucket
from realm.corpus.importers import Problem, read_documents
from realm.corpus.python_docs import python_documents
from realm.settings import load_settings
from realm.text.questions import Question, read_questions

ROOT = Path(__file__).parents[2]
QUESTIONS = ROOT / "bench" / "questions"
DATA = SQUAD.parent
#: Questions of one training article in four measure and decide nothing.
KEPT_OUT = 4
WITH_THE_PROJECT = frozenset({"python", "own_docs", "faq_rewordings", "faq_paraphrases"})


@dataclass(frozen=True, slots=True)
class Corpus:
    """`documents` are searched, among them those that `questions` name."""

    name: str
    documents: Sequence[Document]
    questions: Sequence[Question]

    def first(self, questions: int) -> Corpus:
        """So many of the questions, and the documents that they name."""
        asked = self.questions[:questions]
        named = {name for one in asked for name in one.document_ids}
        return Corpus(self.name, [one for one in self.documents if one.id in named], asked)


def has_data(name: str) -> bool:
    """Whether what the corpus is made of lies beside the project."""
    return name in WITH_THE_PROJECT or SQUAD.is_dir()


def corpus(name: str) -> Corpus:
    return CORPORA[name]()


def kept_out(questions: Sequence[Question], documents: Sequence[Document]) -> list[Question]:
    """Questions about the articles that take part in no decision."""
    titles = {one.id: one.title for one in documents}
    return [one for one in questions if stable_bucket(titles[one.document_id or ""], KEPT_OUT) == 0]


def _squad() -> list[Document]:
    """Its paragraphs, and those of wikitext as distractors."""
    return _read(SQUAD / "documents.jsonl", DATA / "wikitext" / "documents.jsonl")


def _dev() -> Corpus:
    return Corpus("dev", _squad(), read_questions(SQUAD / "questions.dev.jsonl"))


def _kept_out() -> Corpus:
    documents = _squad()
    asked = read_questions(SQUAD / "questions.train.jsonl")
    return Corpus("kept_out", documents, kept_out(asked, documents))


def _python() -> Corpus:
    """Another Python has other documentation: what it lacks is not asked for."""
    documents = list(python_documents())
    there = {one.id for one in documents}
    asked = read_questions(QUESTIONS / "python.jsonl")
    return Corpus("python", documents, [one for one in asked if there & {*one.document_ids}])


def _own_docs() -> Corpus:
    documents = _read(ROOT / "docs", ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    return Corpus("own_docs", documents, read_questions(QUESTIONS / "own_docs.jsonl"))


def _faq(asked: str) -> Corpus:
    """Stored questions, asked in other words."""
    questions = read_questions(QUESTIONS / f"{asked}.jsonl")
    return Corpus(asked, _read(QUESTIONS / "faq.jsonl"), questions)


def _xquad(language: str) -> Corpus:
    folder = DATA / f"xquad_{language}"
    questions = read_questions(folder / "questions.jsonl")
    return Corpus(f"xquad_{language}", _read(folder / "documents.jsonl"), questions)


def _read(*paths: Path) -> list[Document]:
    limit = load_settings().corpus.max_document_bytes
    found = read_documents(paths, max_bytes=limit)
    return [one for one in found if not isinstance(one, Problem)]


CORPORA: dict[str, Callable[[], Corpus]] = {
    "dev": _dev,
    "kept_out": _kept_out,
    "python": _python,
    "own_docs": _own_docs,
    "faq_rewordings": lambda: _faq("faq_rewordings"),
    "faq_paraphrases": lambda: _faq("faq_paraphrases"),
    "xquad_zh": lambda: _xquad("zh"),
    "xquad_ar": lambda: _xquad("ar"),
}

"""Questions with known answers, read by the candidate's reader and by live's alike.

Each is read in one passage that holds its answer and stays the same for all readers: whatever the
retrievers find, the readers alone are compared. Answers are those of a file, those that users were
given, or the names, dates and numbers of held-out sentences (cloze questions).
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from realm.text.cloze import cloze_questions
from realm.text.questions import Question, contains_answer, exact_match, f1, normalise_answer
from realm.text.salient_spans import RuleTagger
from realm.text.sentences import sentence_spans
from services.indexer.gate.comparison import Comparison, sign_test

#: Of a probe question that is read: what is asked, where, and its answers, a JSON list. The last is
#: a string, as everything that holds text: a search for erased text looks through strings.
FIELDS = [
    ("reader_question", pa.string()),
    ("reader_passage", pa.string()),
    ("answers", pa.string()),
]
NOT_READ = {name: "" for name, _ in FIELDS}
#: What a snapshot's reader answers; empty where it finds nothing or says that there is nothing.
ANSWER = "reader_answer"

_TAGGER = RuleTagger()


def reading(question: str, passage: str, answers: Sequence[str]) -> dict[str, str]:
    """The columns of a question that is read."""
    said = json.dumps(list(answers), ensure_ascii=False)
    return dict(zip(NOT_READ, (question, passage, said), strict=True))


def cloze_reading(passage_id: str, text: str) -> dict[str, str]:
    """A sentence of the passage asks for its own name, date or number; `NOT_READ` if none does."""
    rng = random.Random(passage_id)
    sentences = [text[start:end] for start, end in sentence_spans(text)]
    made = [one for one in cloze_questions(sentences, _TAGGER, rng, Counter()) if one is not None]
    if not made:
        return NOT_READ
    chosen = rng.choice(made)
    return reading(chosen.question, text, [chosen.answer])


class AnswerPassages:
    """Of each question, the first passage of its document that holds an answer, as they go by."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._wanted: defaultdict[str, set[Question]] = defaultdict(set)
        for question in questions:
            if question.answers and question.document_id:
                self._wanted[question.document_id].add(question)
        self._found: dict[Question, str] = {}

    def look_through(self, table: pa.Table) -> None:
        """:param table: passages."""
        for document_id, text in _rows(table, "document_id", "text"):
            if wanted := self._wanted.get(document_id):
                normalised = normalise_answer(text)
                found = {one for one in wanted if contains_answer(text, normalised, one)}
                self._found |= dict.fromkeys(found, text)
                wanted -= found

    def reading(self, question: Question) -> dict[str, str]:
        """`NOT_READ` where no passage holds an answer."""
        if (passage := self._found.get(question)) is None:
            return NOT_READ
        return reading(question.question, passage, question.answers)


def _rows(table: pa.Table, *names: str) -> Iterator[tuple[str, ...]]:
    yield from zip(*(table[name].to_pylist() for name in names), strict=True)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one snapshot's reader scores: exact match and F1 of each question, in one order."""

    exact: tuple[bool, ...]
    f1: tuple[float, ...]

    @classmethod
    def of(cls, probes: pa.Table) -> Reading | None:
        """None if nothing was read, or nobody read it: an embedder of an earlier release."""
        if ANSWER not in probes.column_names:
            return None
        read = [
            (given, json.loads(answers))
            for given, answers in _rows(probes, ANSWER, "answers")
            if answers
        ]
        if not read:
            return None
        return cls(
            tuple(exact_match(given, answers) for given, answers in read),
            tuple(f1(given, answers) for given, answers in read),
        )

    @property
    def em(self) -> float:
        return sum(self.exact) / len(self.exact)

    @property
    def mean_f1(self) -> float:
        return sum(self.f1) / len(self.f1)


def compare_readings(candidate: Reading, baseline: Reading) -> Comparison:
    """How far mean F1 fell, and the sign test over the questions that only one answers as well."""
    pairs = list(zip(candidate.f1, baseline.f1, strict=True))
    losses = sum(mine < theirs for mine, theirs in pairs)
    wins = sum(mine > theirs for mine, theirs in pairs)
    return Comparison(baseline.mean_f1 - candidate.mean_f1, sign_test(losses, wins))

"""Questions with known answers become examples: their own passage and hard negatives beside it.

Negatives are what exact search finds best for the question. Only documents that a question names
take part, so nothing of other documents (those of a development set, say) is ever seen.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from realm.corpus.documents import Document, is_held_out
from realm.corpus.passages import Passage
from realm.errors import InvalidInput
from realm.evaluation.parallel import Progress, no_progress_bars
from realm.evaluation.searching import (
    PassageVectors,
    Searcher,
    encode_passages,
    encode_questions,
    make_reading,
    split_documents,
)
from realm.evaluation.systems import System
from realm.model.answers import Reading
from realm.model.relevance import Relevance
from realm.objectives.reading import ReadingExample
from realm.recipes.relevance import fitted_relevance
from realm.records.vectors import Vectors
from realm.text.cloze import cloze_questions, normalise_sentence
from realm.text.questions import Question, contains_answer, normalise_answer
from realm.text.salient_spans import SpanTagger
from realm.text.sentences import sentence_spans

NEAREST = 20  # an answer in a passage that is further away is rather a coincidence
HARD = 4


@dataclass(frozen=True, slots=True)
class Scored:
    """A passage's text and f(x, z) of a question with it."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class QuestionExamples:
    """What one question can be taught with: passages that hold an answer, and hard negatives.

    `empty` are the negatives in which no answer stands by chance.
    """

    question: Question
    own: tuple[Scored, ...]
    negatives: tuple[Scored, ...]
    empty: tuple[Scored, ...] = ()

    def example(
        self, negatives: float, rng: random.Random, no_answer: float = 0.0
    ) -> ReadingExample:
        """Draws one of its own passages and `negatives` others (a mean) at random.

        With probability `no_answer` as many passages without an answer instead, if there are any.
        """
        count = int(negatives + rng.random())
        if no_answer and self.empty and rng.random() < no_answer:
            empty = rng.sample(self.empty, min(count + 1, len(self.empty)))
            return _example(self.question.question, (), empty)
        drawn = rng.sample(self.negatives, min(count, len(self.negatives)))
        passages = [rng.choice(self.own), *drawn]
        return _example(self.question.question, self.question.answers, passages)


def _example(question: str, answers: tuple[str, ...], passages: Sequence[Scored]) -> ReadingExample:
    texts = tuple(passage.text for passage in passages)
    return ReadingExample(question, answers, texts, tuple(passage.score for passage in passages))


@dataclass(frozen=True, slots=True)
class ReaderDataset:
    """Examples to learn from, and questions of held-out documents as an answerer meets them.

    `relevance` was fitted to the latter, and weighs the passages of both. `skipped` counts, by
    reason, questions that are neither.
    """

    examples: list[QuestionExamples]
    held_out: list[tuple[Question, Reading]]
    relevance: Relevance
    skipped: Counter[str]


def prepare(
    system: System,
    documents: Sequence[Document],
    questions: Sequence[Question],
    *,
    hard: int,
    read: int,
    progress: Progress = no_progress_bars,
) -> ReaderDataset:
    """Fits s and w to the held-out questions first: all scores below are by them.

    :param system: its `retrieval` chooses what held-out questions are read in.
    :param hard: how many of the best other passages serve as negatives.
    :param read: how many passages a held-out question is read in.

    :raises InvalidInput: if no question can be taught.
    """
    skipped: Counter[str] = Counter()
    known = {document.id: document for document in documents}
    asked = [one for one in questions if _is_teachable(one, known, skipped)]
    named = {one.document_id for one in asked}
    passages = split_documents([one for one in known.values() if one.id in named], system.inputs)
    whole = encode_passages(system, passages, progress("passages"))
    tested = [one for one in asked if is_held_out(one.document_id or "")]
    queries = encode_questions(
        system, [one.question for one in tested], progress("held-out questions")
    )
    system = replace(system, relevance=fitted_relevance(system, whole, tested, queries))
    taught = [row for row, one in enumerate(passages) if not is_held_out(one.document_id)]
    index = PassageVectors([passages[row] for row in taught], whole.vectors[taught])
    learnt = [one for one in asked if not is_held_out(one.document_id or "")]
    examples = _question_examples(system, index, learnt, hard, skipped, progress)
    if not examples:
        raise InvalidInput(
            "no question can be taught: give questions with answers and the document_id of one of"
            f" the documents (left out: {dict(skipped)})"
        )
    readings = _readings(system, whole, tested, queries, read)
    return ReaderDataset(examples, readings, system.relevance, skipped)


def _is_teachable(question: Question, known: dict[str, Document], skipped: Counter[str]) -> bool:
    if not question.answers:
        skipped["no_answer_text"] += 1
    elif question.document_id not in known:
        skipped["unknown_document"] += 1
    else:
        return True
    return False


def _question_examples(
    system: System,
    index: PassageVectors,
    questions: Sequence[Question],
    hard: int,
    skipped: Counter[str],
    progress: Progress,
) -> list[QuestionExamples]:
    queries = encode_questions(system, [one.question for one in questions], progress("questions"))
    by_document: dict[str, list[int]] = {}
    for row, passage in enumerate(index.passages):
        by_document.setdefault(passage.document_id, []).append(row)
    normalised = [normalise_answer(passage.text) for passage in index.passages]
    longest = max(map(len, by_document.values()), default=0)
    searcher = Searcher(index, system.retrieval, system.relevance)
    examples = []
    for number, question in enumerate(questions):
        scores = searcher.scores(question.question, queries[number])  # [passages]
        rows = by_document[question.document_id or ""]
        own = tuple(
            Scored(index.passages[row].text, float(scores[row]))
            for row in rows
            if contains_answer(index.passages[row].text, normalised[row], question)
        )
        if not own:
            skipped["answer_not_in_document"] += 1
            continue
        others = [
            (Scored(index.passages[row].text, float(scores[row])), row)
            for row in np.argsort(-scores, kind="stable")[: hard + longest]
            if row not in rows
        ][:hard]
        negatives = tuple(scored for scored, _ in others)
        empty = tuple(
            scored
            for scored, row in others
            if not contains_answer(scored.text, normalised[row], question)
        )
        examples.append(QuestionExamples(question, own, negatives, empty))
    return examples


def _readings(
    system: System,
    index: PassageVectors,
    questions: Sequence[Question],
    queries: Vectors,
    read: int,
) -> list[tuple[Question, Reading]]:
    asked = [one.question for one in questions]
    searcher = Searcher(index, system.retrieval, system.relevance)
    found = searcher.search(asked, queries, read)
    return [
        (one, make_reading(system, index, one.question, own))
        for one, own in zip(questions, found, strict=True)
    ]


def cloze_examples(
    system: System,
    passages: Sequence[Passage],
    most: int,
    rng: random.Random,
    *,
    skipped: Counter[str],
    tagger: SpanTagger,
    progress: Progress = no_progress_bars,
) -> list[QuestionExamples]:
    """At most `most` examples without a teacher: a sentence asks for its own salient span.

    The answer stands in another passage, the one that the retriever ranks best among those that
    hold it, as a user's question meets its answer (Lewis, Denoyer and Riedel 2019; Dhingra et al.
    2018). No held-out document takes part.

    `skipped` counts, by reason, sentences that gave none.
    """
    learnt = [one for one in passages if not is_held_out(one.document_id)]
    index = encode_passages(system, learnt, progress("cloze passages"))
    asked = _cloze_questions(index.passages, tagger, rng, skipped)
    rng.shuffle(asked)
    # Some questions find no other passage with their answer.
    asked = asked[: 4 * most]
    texts = [question.question for _, question, _ in asked]
    queries = encode_questions(system, texts, progress("cloze questions"))
    searcher = Searcher(index, system.retrieval, system.relevance)
    normalised = [normalise_answer(passage.text) for passage in index.passages]
    sentences = [normalise_sentence(passage.text) for passage in index.passages]
    examples: list[QuestionExamples] = []
    for number, (origin, question, sentence) in enumerate(asked):
        if len(examples) == most:
            break
        own: list[Scored] = []
        others: list[Scored] = []
        scores = searcher.scores(question.question, queries[number])  # [passages]
        for row in np.argsort(-scores, kind="stable")[: NEAREST + 1]:
            text = index.passages[row].text
            if row == origin or sentence in sentences[row]:
                continue
            scored = Scored(text, float(scores[row]))
            holds = contains_answer(text, normalised[row], question)
            (own if holds else others).append(scored)
        if not own:
            skipped["answer_not_found"] += 1
            continue
        negatives = tuple(others[:HARD])
        examples.append(QuestionExamples(question, tuple(own[:1]), negatives, negatives))
    return examples


def _cloze_questions(
    passages: Sequence[Passage], tagger: SpanTagger, rng: random.Random, skipped: Counter[str]
) -> list[tuple[int, Question, str]]:
    """One question a usable sentence: the row it is from, the question, the bare sentence."""
    return [
        (
            row,
            Question(made.question, (made.answer,), None, passage.document_id),
            normalise_sentence(made.sentence),
        )
        for row, passage in enumerate(passages)
        for made in cloze_questions(_sentences(passage.text), tagger, rng, skipped)
        if made is not None
    ]


def _sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]

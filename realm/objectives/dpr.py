"""Supervised retrieval: questions against passages that answer, hard and in-batch negatives.

Karpukhin et al. 2020 (DPR), eq. 2: the passages of the batch's other questions are negatives, and
so are passages that rank high without holding an answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from typing import Self

import torch
from torch import Tensor

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.inputs import Encoded, InputBuilder
from realm.objectives.candidates import Asked, Candidate, PassageWindows, TrainingSearch
from realm.objectives.inverse_cloze import ContrastBatch, contrastive_loss
from realm.objectives.objective import Loss, Objective, ObjectiveSetup
from realm.objectives.sources import QuestionPool, Questions
from realm.retrieval import Retrieval
from realm.text.cloze import normalise_sentence
from realm.text.questions import Question, contains_answer, normalise_answer

MAX_DRAWS = 8  # of questions, until a batch is whole
SEARCH_DEPTH = 20  # passages among which positive and negatives are looked for
MIN_QUESTIONS = 2  # questions: one alone, without hard negatives, has nothing to be told from


@dataclass(frozen=True, slots=True)
class QuestionPair:
    """A question with a passage that answers it and some that only look so."""

    question: Question
    query: Encoded
    positive: Candidate
    negatives: list[Candidate]


class DPR(Objective[ContrastBatch], name="dpr"):
    """Contrastive learning from questions; vectors and words find hard negatives in turn.

    :param hard_negatives: a question; 0 needs no index for questions that name their document.
    :param passage_tokens: longest passage input in training: a positive is then a window around an
        answer.
    """

    from_questions = True

    def __init__(
        self,
        inputs: InputBuilder,
        questions: Questions,
        search: TrainingSearch,
        *,
        batch_size: int,
        hard_negatives: int,
        passage_tokens: int,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._inputs = inputs
        self._pool = QuestionPool(questions, inputs, self.skipped)
        self._search = search
        self._batch_size = batch_size
        self._hard = hard_negatives
        self._windows = PassageWindows(inputs, passage_tokens)

    @classmethod
    def build(cls, setup: ObjectiveSetup) -> Self:
        chosen = setup.settings.objectives
        return cls(
            setup.model.inputs,
            setup.questions,
            setup.search,
            batch_size=chosen.dpr_batch,
            hard_negatives=chosen.hard_negatives,
            passage_tokens=chosen.train_passage_tokens,
        )

    @property
    def needs_index(self) -> bool:
        return self._hard > 0 or not self._pool.all_name_documents

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> ContrastBatch:
        """Questions by chance; `passages` are not drawn from.

        :raises NotReady: if too few of many questions have a passage that answers.
        :raises DependencyUnavailable: if the index does not answer.
        """
        pairs: list[QuestionPair] = []
        for _ in range(MAX_DRAWS):
            drawn = self._pool.draw(self._batch_size - len(pairs), rng)
            taken = {pair.question.question for pair in pairs}
            pairs += self._pairs([one for one in drawn if one[0].question not in taken], rng)
            if len(pairs) >= min(self._batch_size, len(self._pool)):
                break
        if len(pairs) < MIN_QUESTIONS:
            raise NotReady(
                f"the corpus holds an answer to {len(pairs)} of the questions drawn; do"
                " REALM_TRAIN_QUESTIONS ask about its documents?"
            )
        columns = [pair.positive for pair in pairs]
        columns += [negative for pair in pairs for negative in pair.negatives]
        return ContrastBatch(
            [pair.query for pair in pairs],
            [self._windows.encode(one) for one in columns],
            false_negatives([pair.question for pair in pairs], columns),
        )

    def loss(self, batch: ContrastBatch, model: Model) -> Loss:
        return contrastive_loss(batch, model)

    def _pairs(
        self, asked: Sequence[tuple[Question, Encoded]], rng: random.Random
    ) -> list[QuestionPair]:
        found = self._found([one for one, _ in asked], [query for _, query in asked], rng)
        pairs = []
        for (question, query), ranked in zip(asked, found, strict=True):
            held = [_holds(one, question) for one in ranked]
            positive = self._positive(question, ranked, held, rng)
            if positive is None:
                self.skipped["no_positive"] += 1
                continue
            positive = self._windows.window_around(positive, partial(_answers, question), rng)
            if positive is None:
                self.skipped["answer_beyond_window"] += 1
                continue
            wrong = [one for one, holds in zip(ranked, held, strict=True) if not holds]
            if len(wrong) < self._hard:
                self.skipped["too_few_hard_negatives"] += 1
            negatives = [self._windows.window(one, rng) for one in wrong[: self._hard]]
            pairs.append(QuestionPair(question, query, positive, negatives))
        return pairs

    def _found(
        self, questions: Sequence[Question], queries: Sequence[Encoded], rng: random.Random
    ) -> list[list[Candidate]]:
        """Passages of each question, best first; those of both ways to search in turn."""
        if not self.needs_index or not questions:
            return [[] for _ in questions]
        pairs = zip(questions, queries, strict=True)
        asked = [Asked(question.question, query) for question, query in pairs]
        ways = [
            self._search.search(asked, SEARCH_DEPTH, way)
            for way in (Retrieval.DENSE, Retrieval.BM25)
        ]
        ranked = []
        for of_question in zip(*ways, strict=True):
            order = list(of_question)
            rng.shuffle(order)
            ranked.append(self._merged(order))
        return ranked

    def _merged(self, ways: Sequence[Sequence[Candidate]]) -> list[Candidate]:
        merged: dict[str, Candidate] = {}
        for one in chain.from_iterable(zip_longest(*ways)):
            if one is None:
                continue
            if is_held_out(one.document_id):
                self.skipped["held_out_candidate"] += 1
            else:
                merged.setdefault(one.passage_id, one)
        return list(merged.values())

    def _positive(
        self,
        question: Question,
        ranked: Sequence[Candidate],
        held: Sequence[bool],
        rng: random.Random,
    ) -> Candidate | None:
        """A passage of the question's document that answers; without a document, the best found."""
        if question.document_id is None:
            return next((one for one, holds in zip(ranked, held, strict=True) if holds), None)
        own = self._search.of_document(question.document_id)
        answering = [one for one in own if _holds(one, question)]
        return rng.choice(answering) if answering else None


def false_negatives(questions: Sequence[Question], columns: Sequence[Candidate]) -> Tensor:
    """Pairs [b, n] of question i with passage j that is no true negative of it, and not i's own.

    That is where it is the positive once more, word for word, or holds an answer itself.
    """
    texts = [normalise_sentence(one.text) for one in columns]
    exclude = torch.zeros(len(questions), len(columns), dtype=torch.bool)
    for i, question in enumerate(questions):
        for j, other in enumerate(columns):
            exclude[i, j] = i != j and (
                other.passage_id == columns[i].passage_id
                or texts[i] == texts[j]
                or _holds(other, question)
            )
    return exclude


def _holds(candidate: Candidate, question: Question) -> bool:
    return _answers(question, candidate.text)


def _answers(question: Question, text: str) -> bool:
    return contains_answer(text, normalise_answer(text), question)

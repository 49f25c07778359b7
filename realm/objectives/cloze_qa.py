"""Cloze QA: the span removed from a sentence has to be found in another passage.

Reader and retriever learn by the two terms of open-domain QA, over the few candidates of a search
and with fresh vectors of both sides, so that the passage encoder learns too.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import torch
from torch import Tensor

from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.inputs import Encoded, InputBuilder
from realm.model.retriever import Retriever
from realm.objectives.candidates import (
    Asked,
    Candidate,
    CandidateSearch,
    PassageWindows,
    usable_candidates,
)
from realm.objectives.objective import Loss, Objective, ObjectiveSetup, tensors
from realm.objectives.open_qa import open_qa_loss
from realm.objectives.reading import EncodedExample, ReaderLoss, ReadingExample
from realm.objectives.sources import PassageSource, first_success_per_item, shuffled_sentences
from realm.text.cloze import ClozeQuestion, cloze_questions
from realm.text.questions import Question, contains_answer, normalise_answer
from realm.text.salient_spans import SpanTagger

SEARCH_FACTOR = 8  # passages asked for, a place: most hold no answer
MAX_SEARCH_ROUNDS = 4  # searches, until a batch is whole


@dataclass(frozen=True, slots=True)
class ClozeExample:
    """A question with its candidates: which hold the answer [k], and as a reading task."""

    question: ClozeQuestion
    origin: str
    query: Encoded
    candidates: list[Candidate]
    contains: list[bool]
    task: EncodedExample


class ClozeQA(Objective[list[ClozeExample]], name="cloze_qa"):
    """Self-supervised question answering over the live index.

    :param read: passages of a question, one of which holds the answer.
    :param passage_tokens: longest passage input of the retriever in training, in word pieces.
    """

    teaches_reader = True

    def __init__(
        self,
        inputs: InputBuilder,
        tagger: SpanTagger,
        search: CandidateSearch,
        reading: ReaderLoss,
        *,
        batch_size: int,
        read: int,
        passage_tokens: int,
    ) -> None:
        self.skipped: Counter[str] = reading.skipped
        self._inputs = inputs
        self._tagger = tagger
        self._search = search
        self._reading = reading
        self._batch_size = batch_size
        self._read = read
        self._windows = PassageWindows(inputs, passage_tokens)

    @classmethod
    def build(cls, setup: ObjectiveSetup) -> Self:
        chosen = setup.settings.objectives
        return cls(
            setup.model.inputs,
            setup.tagger,
            setup.search,
            ReaderLoss.build(setup),
            batch_size=chosen.cloze_qa_batch,
            read=chosen.open_qa_read,
            passage_tokens=chosen.train_passage_tokens,
        )

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> list[ClozeExample]:
        """:raises NotReady: if the passages hold too little of use, or no answer is found twice.
        :raises DependencyUnavailable: if the index does not answer.
        """
        batch: list[ClozeExample] = []
        draw = iter(
            PassageSource(passages, self.skipped, self.name, MAX_SEARCH_ROUNDS * self._batch_size)
        )
        for _ in range(MAX_SEARCH_ROUNDS):
            asked = self._questions(draw, self._batch_size - len(batch), rng)
            questions = [Asked(question.question, query) for _, question, query in asked]
            found = self._search.search(questions, SEARCH_FACTOR * self._read)
            for (origin, question, query), candidates in zip(asked, found, strict=True):
                made = self._example(origin, question, query, candidates, rng)
                if made is not None:
                    batch.append(made)
            if len(batch) == self._batch_size:
                break
        if not batch:
            raise NotReady("the live index holds no second passage with an answer to these clozes")
        return batch

    def loss(self, batch: Sequence[ClozeExample], model: Model) -> Loss:
        """−log p(y|x) of the reader, and −log of the prior of passages that hold the answer."""
        scores = self._scores(batch, model.retriever)
        contains = [torch.tensor(one.contains, device=scores[0].device) for one in batch]
        tasks = [one.task for one in batch]
        return open_qa_loss(scores, contains, tasks, self._reading, model.reader)

    def _questions(
        self, draw: Iterator[Passage], count: int, rng: random.Random
    ) -> list[tuple[str, ClozeQuestion, Encoded]]:
        made: list[tuple[str, ClozeQuestion, Encoded]] = []
        while len(made) < count:
            drawn = list(islice(draw, count - len(made)))
            tries = [shuffled_sentences(passage.text, rng) for passage in drawn]
            asked = first_success_per_item(
                tries, lambda texts: cloze_questions(texts, self._tagger, rng, self.skipped)
            )
            for passage, question in zip(drawn, asked, strict=True):
                if question is None:
                    continue
                ids, _ = self._inputs.tokenize(question.question)
                if len(ids) > self._inputs.limits.query - 2:
                    self.skipped["sentence_beyond_query"] += 1
                    continue
                made.append((passage.passage_id, question, self._inputs.query_from_ids(ids)))
        return made

    def _example(
        self,
        origin: str,
        question: ClozeQuestion,
        query: Encoded,
        found: Sequence[Candidate],
        rng: random.Random,
    ) -> ClozeExample | None:
        kept = usable_candidates(found, question.sentence, origin, len(found), self.skipped)
        wanted = Question(question.question, (question.answer,))

        def holds(text: str) -> bool:
            return contains_answer(text, normalise_answer(text), wanted)

        holding = {place for place, one in enumerate(kept) if holds(one.text)}
        if not holding:
            self.skipped["answer_not_found"] += 1
            return None
        # Without the answer there is nothing to read: the best that holds it takes the last place.
        places = list(range(min(self._read, len(kept))))
        if holding.isdisjoint(places):
            places[-1] = min(holding)
        candidates = [kept[place] for place in places]
        texts = tuple(one.text for one in candidates)
        example = ReadingExample(question.question, (question.answer,), texts, (0.0,) * len(texts))
        task = self._reading.encode(example, rng)
        if task is None:
            return None
        contains = [place in holding for place in places]
        read = [
            (self._windows.window_around(one, holds, rng) if held else None)
            or self._windows.window(one, rng)
            for one, held in zip(candidates, contains, strict=True)
        ]
        return ClozeExample(question, origin, query, read, contains, task)

    def _scores(self, batch: Sequence[ClozeExample], retriever: Retriever) -> list[Tensor]:
        """f(x, z) of each question's candidates, each [k], by the parameters that learn."""
        pad, device = self._inputs.pad, retriever.passage.device
        passages, rows = self._windows.distinct([one.candidates for one in batch])
        asked = tensors([one.query for one in batch], pad, device)
        queries = retriever.query(*asked)  # [b, size]
        vectors = retriever.passage(*tensors(passages, pad, device))  # [n, size]
        return [
            retriever.score(query[None], vectors[own], _words(one)[None].to(device))[0]
            for query, own, one in zip(queries, rows, batch, strict=True)
        ]


def _words(example: ClozeExample) -> Tensor:
    """The BM25 score of each candidate: [k]."""
    return torch.tensor([one.words for one in example.candidates])

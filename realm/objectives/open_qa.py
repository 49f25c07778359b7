"""Open-domain question answering, fine-tuned by the paper's two terms (REALM, 3.2 and 3.4).

−log Σ_{z holds the answer} p(z|x) over a large beam, which trains the retriever at once, plus
the reader's −log p(y|x) over the best few passages (`realm.objectives.reading`). The passages'
vectors are the index's and constant: only the query encoder learns.
Lee, Chang and Toutanova 2019 (ORQA), section 5, eq. 6 to 8.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from realm.corpus.documents import is_held_out
from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.inputs import Encoded, InputBuilder
from realm.model.likelihood import retriever_answer_marginal
from realm.model.reader import Reader
from realm.objectives.candidates import Asked, Beam, TrainingSearch
from realm.objectives.objective import Loss, Objective, ObjectiveSetup, tensors
from realm.objectives.reading import EncodedExample, ReaderLoss, ReadingExample
from realm.objectives.sources import QuestionPool, Questions
from realm.text.questions import Question, contains_answer, normalise_answer

MAX_DRAWS = (
    100  # of questions, until a batch is whole; a step that failed would draw the same again
)


@dataclass(frozen=True, slots=True)
class QAExample:
    """A question with its beam: `vectors` [n, size], BM25 scores `words` [n], and which passages
    hold an answer [n].

    `task` reads the first of them; None where none of their spans answers. A reader that knows
    "no answer" learns to say so where none of those holds one.
    """

    query: Encoded
    vectors: Tensor
    words: Tensor
    contains: Tensor
    task: EncodedExample | None


class OpenQA(Objective[list[QAExample]], name="open_qa"):
    """Fine-tuning on questions over the live index.

    :param beam: passages in the retriever's term (ORQA: 5000), or as many as the index holds.
    :param read: passages that the reader reads (REALM: 5).
    """

    from_questions = True
    teaches_reader = True

    def __init__(
        self,
        inputs: InputBuilder,
        questions: Questions,
        search: TrainingSearch,
        reading: ReaderLoss,
        *,
        batch_size: int,
        beam: int,
        read: int,
    ) -> None:
        self.skipped: Counter[str] = reading.skipped
        self._inputs = inputs
        self._pool = QuestionPool(questions, inputs, self.skipped)
        self._search = search
        self._reading = reading
        self._batch_size = batch_size
        self._beam = beam
        self._read = read
        # The beams of a batch share most of their passages.
        self._normalised = lru_cache(2 * beam)(normalise_answer)

    @classmethod
    def build(cls, setup: ObjectiveSetup) -> Self:
        chosen = setup.settings.objectives
        return cls(
            setup.model.inputs,
            setup.questions,
            setup.search,
            # A cloze always has its answer before it; a question need not, as in serving.
            ReaderLoss.build(setup, null=setup.model.reader.answers.null),
            batch_size=chosen.open_qa_batch,
            beam=chosen.open_qa_beam,
            read=chosen.open_qa_read,
        )

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> list[QAExample]:
        """Questions by chance, their beams searched; `passages` are not drawn from.

        :raises NotReady: if none of many questions has an answer in its beam.
        :raises DependencyUnavailable: if the index does not answer.
        """
        batch: list[QAExample] = []
        for _ in range(MAX_DRAWS):
            drawn = self._pool.draw(self._batch_size - len(batch), rng)
            asked = [Asked(question.question, encoded) for question, encoded in drawn]
            beams = self._search.beams(asked, self._beam)
            for (question, query), beam in zip(drawn, beams, strict=True):
                made = self._example(question, query, beam, rng)
                if made is None:
                    self.skipped["answer_not_found"] += 1
                else:
                    batch.append(made)
            if len(batch) >= min(self._batch_size, len(self._pool)):
                break
        if not batch:
            raise NotReady(
                "the live index holds an answer to none of the questions drawn; do"
                " REALM_TRAIN_QUESTIONS ask about its documents?"
            )
        return batch

    def loss(self, batch: Sequence[QAExample], model: Model) -> Loss:
        """Both terms, summed, a mean over the questions; a term is 0 where nothing matches."""
        retriever, device = model.retriever, model.retriever.query.device
        inputs = tensors([one.query for one in batch], self._inputs.pad, device)
        queries = retriever.query(*inputs)  # [b, size]
        scores = [
            retriever.score(
                query[None], one.vectors.to(device, query.dtype), one.words.to(device)[None]
            )[0]  # [n]
            for query, one in zip(queries, batch, strict=True)
        ]
        contains = [one.contains.to(device) for one in batch]
        return open_qa_loss(
            scores, contains, [one.task for one in batch], self._reading, model.reader
        )

    def _example(
        self, question: Question, query: Encoded, found: Beam, rng: random.Random
    ) -> QAExample | None:
        """None if no passage holds an answer: both terms would be 0."""
        free = [row for row, name in enumerate(found.document_ids) if not is_held_out(name)]
        self.skipped["held_out_candidate"] += len(found.document_ids) - len(free)
        beam = found.keep(free)
        contains = [contains_answer(text, self._normalised(text), question) for text in beam.texts]
        if not any(contains):
            return None
        read = tuple(beam.texts[: self._read])
        # The scores are those of the parameters that learn: `loss` fills them in.
        is_there = any(contains[: self._read])
        example = ReadingExample(
            question.question, question.answers if is_there else (), read, (0.0,) * len(read)
        )
        # An expression names no span, and so teaches the retriever alone.
        teaches = question.answers and (is_there or self._reading.null)
        task = self._reading.encode(example, rng) if teaches else None
        vectors, words = torch.from_numpy(beam.vectors), torch.from_numpy(beam.words)
        return QAExample(query, vectors, words, torch.tensor(contains), task)


def open_qa_loss(
    scores: Sequence[Tensor],
    contains: Sequence[Tensor],
    tasks: Sequence[EncodedExample | None],
    reading: ReaderLoss,
    reader: Reader,
) -> Loss:
    """The retriever's and the reader's term of each question, summed; a mean over the questions.

    :param scores: f(x, z) of the passages of each question, each [n]; a task's are the first.
    :param contains: whether a passage holds an answer, each [n].
    """
    found = [
        retriever_answer_marginal(own[None], held[None])
        for own, held in zip(scores, contains, strict=True)
    ]
    retrieval = -torch.cat([term.log_likelihood for term in found])  # [b]
    value, figures = retrieval.mean(), {}
    shares = [float(term.matched.any()) for term in found]
    read = [(task, own) for task, own in zip(tasks, scores, strict=True) if task is not None]
    if read:
        chosen = [task for task, _ in read]
        priors = [own[: task.passages] for task, own in read]
        reading_loss = -reading.log_likelihoods(chosen, reader, priors).sum() / len(tasks)
        value = value + reading_loss
        figures["reader_loss"] = reading_loss.item()
    return Loss(
        value,
        {
            "loss": value.item(),
            "retriever_loss": retrieval.mean().item(),
            "retriever_matched": sum(shares) / len(shares),
            "reader_matched": len(read) / len(tasks),
            **figures,
        },
    )

"""Inverse cloze: a sentence asks for the passage that it was taken from (ORQA, section 4).

The other passages of the batch are the negatives: the in-batch contrast that DPR shares.
It teaches Embed(·) and s alone: any word tells the passages of a batch apart, but hardly those that
a search finds, among which w is learnt.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from realm.corpus.passages import Passage
from realm.model.checkpoint import Model
from realm.model.inputs import Encoded, InputBuilder
from realm.model.likelihood import inverse_cloze_loss
from realm.objectives.candidates import Candidate, PassageWindows
from realm.objectives.objective import Loss, Objective, ObjectiveSetup, tensors
from realm.objectives.sources import PassageSource
from realm.text.cloze import inverse_cloze, normalise_sentence


@dataclass(frozen=True, slots=True)
class ContrastBatch:
    """b queries and n ≥ b passages: row i's positive is column i.

    `exclude` [b, n] marks pairs that are no true negatives.
    """

    queries: list[Encoded]
    passages: list[Encoded]
    exclude: Tensor


def contrastive_loss(batch: ContrastBatch, model: Model) -> Loss:
    """−log of the positive's share of its row's softmax, a mean over the queries."""
    retriever = model.retriever
    pad, device = model.inputs.pad, retriever.passage.device
    queries = retriever.query(*tensors(batch.queries, pad, device))  # [b, size]
    passages = retriever.passage(*tensors(batch.passages, pad, device))  # [n, size]
    scores = retriever.score(queries, passages)  # [b, n]
    exclude = batch.exclude.to(device)
    loss = inverse_cloze_loss(scores, exclude)
    with torch.no_grad():
        rows = torch.arange(len(scores), device=device)
        best = scores.masked_fill(exclude, -torch.inf).argmax(dim=-1)
        first = (best == rows).float().mean().item()
    figures = {"loss": loss.item(), "batch_recall_at_1": first}
    return Loss(loss, {**figures, "scale": retriever.scale.item()})


@dataclass(frozen=True, slots=True)
class _Example:
    sentence: str
    passage: Passage
    query: Encoded
    positive: Encoded


class InverseCloze(Objective[ContrastBatch], name="inverse_cloze"):
    """The retriever's own objective: it needs neither index nor reader.

    :param batch_size: passages in a batch, at least 2.
    :param removal_share: share of positives without their sentence (ORQA: 0.9; in the others
        word overlap is rewarded too).
    :param passage_tokens: longest passage input in training, in word pieces; of a longer passage
        a window is read, with the sentence in it where that is not removed.
    """

    def __init__(
        self, inputs: InputBuilder, *, batch_size: int, removal_share: float, passage_tokens: int
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self._inputs = inputs
        self._batch_size = batch_size
        self._removal_share = removal_share
        self._windows = PassageWindows(inputs, passage_tokens)

    @classmethod
    def build(cls, setup: ObjectiveSetup) -> Self:
        chosen = setup.settings.objectives
        return cls(
            setup.model.inputs,
            batch_size=chosen.inverse_cloze_batch,
            removal_share=chosen.trivial_removal_share,
            passage_tokens=chosen.train_passage_tokens,
        )

    @property
    def needs_index(self) -> bool:
        return False

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> ContrastBatch:
        """:raises NotReady: if the passages hold too little of use."""
        examples: list[_Example] = []
        for passage in PassageSource(passages, self.skipped, self.name, self._batch_size):
            example = self._example(passage, rng)
            if example is None:
                continue
            examples.append(example)
            if len(examples) == self._batch_size:
                break
        return ContrastBatch(
            [example.query for example in examples],
            [example.positive for example in examples],
            false_negatives(
                [example.passage for example in examples],
                [example.sentence for example in examples],
            ),
        )

    def loss(self, batch: ContrastBatch, model: Model) -> Loss:
        return contrastive_loss(batch, model)

    def _example(self, passage: Passage, rng: random.Random) -> _Example | None:
        pair = inverse_cloze(passage.text, rng)
        if pair is None:
            self.skipped["no_sentence"] += 1
            return None
        sentence, rest = pair
        query_ids, _ = self._inputs.tokenize(sentence)
        if not query_ids:
            self.skipped["no_word_pieces"] += 1
            return None
        positive: Candidate | None = Candidate.of(passage)
        assert positive is not None
        if rng.random() < self._removal_share:
            shortened = replace(positive, text=rest, body_ids=self._inputs.tokenize(rest)[0])
            positive = self._windows.window(shortened, rng)
        else:
            positive = self._windows.window_around(positive, lambda text: sentence in text, rng)
        if positive is None:
            self.skipped["sentence_beyond_window"] += 1
            return None
        return _Example(
            sentence,
            passage,
            self._inputs.query_from_ids(query_ids),
            self._windows.encode(positive),
        )


def false_negatives(passages: Sequence[Passage], sentences: Sequence[str]) -> Tensor:
    """Pairs [b, b] where passage j is no negative of sentence i.

    That is where it is of the same document, the same text, or holds the same sentence.
    """
    needles = [normalise_sentence(sentence) for sentence in sentences]
    bodies = [normalise_sentence(passage.text) for passage in passages]
    exclude = torch.zeros(len(passages), len(passages), dtype=torch.bool)
    for i, own in enumerate(passages):
        for j, other in enumerate(passages):
            exclude[i, j] = i != j and (
                own.document_id == other.document_id
                or own.content_hash == other.content_hash
                or needles[i] in bodies[j]
            )
    return exclude

"""Masked LM over retrieved passages: predict what a sentence hides (REALM, sections 3.1, 3.4).

One pass teaches three things: the masked-LM head, the span head on passages that hold the masked
answer, and, as soon as those two give a signal, the retriever.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import torch
from torch import Tensor

from realm.corpus.passages import Passage
from realm.errors import NotReady
from realm.model.checkpoint import Model
from realm.model.inputs import Encoded, InputBuilder, WordBoundaries
from realm.model.likelihood import (
    log_prior,
    marginal_log_likelihood,
    retrieval_utility,
    sequence_log_likelihoods,
    span_marginal,
)
from realm.model.reader import SpanLogits, body_mask
from realm.objectives.candidates import (
    Asked,
    Candidate,
    CandidateSearch,
    PassageWindows,
    usable_candidates,
    whole_word_matches,
)
from realm.objectives.masking import (
    MaskChooser,
    MaskedSentence,
    Masker,
    continuation_ids,
    mask_chooser,
)
from realm.objectives.objective import Loss, Objective, ObjectiveSetup, tensors
from realm.objectives.signal_gate import SignalGate
from realm.objectives.sources import PassageSource, first_success_per_item, shuffled_sentences

#: Nats by which passages must surely help before the retriever learns: an untrained head's answers
#: differ from passage to passage by chance, and a mixture is never as bad as its worst.
MIN_GAIN = 0.02
SEARCH_FACTOR = 2  # passages asked for, a place: some are trivial or held out


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """Sentences, and of each at most k − 1 candidates; the null document comes on top."""

    sentences: list[MaskedSentence]
    candidates: list[list[Candidate]]


@dataclass(frozen=True, slots=True)
class _Predictions:
    """What the reader makes of each (sentence, place): b sentences, k places, the first is ∅."""

    target_log_probs: Tensor  # [b, k, J]
    target_mask: Tensor  # [b, J]
    spans: _SpanScores | None


@dataclass(frozen=True, slots=True)
class _SpanScores:
    """Of each (sentence, place) the spans' logits, −inf but for whole words, and which are the
    answer: both [b·k, starts, widths].
    """

    logits: Tensor
    matches: Tensor


class MaskedLM(Objective[MaskedBatch], name="masked_lm"):
    """Masked LM over the live index.

    :param masks: what is hidden; salient spans, in the paper's own setting.
    :param candidates: k, the null document included.
    :param passage_tokens: longest passage input in training, in word pieces; of a longer passage
        retriever and reader read one window, around the answer if it holds that.
    :param span_term: whether the span head learns along, and the retriever by it: distant
        supervision by the answer's words, which is no part of the paper's pre-training.
    """

    def __init__(
        self,
        inputs: InputBuilder,
        masks: MaskChooser,
        search: CandidateSearch,
        *,
        batch_size: int,
        candidates: int,
        passage_tokens: int,
        span_term: bool = True,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.utility_gate = SignalGate(MIN_GAIN)
        self.span_gate = SignalGate()
        self._inputs = inputs
        self._masker = Masker(inputs, masks, self.skipped)
        self._search = search
        self._batch_size = batch_size
        self._places = candidates
        self._windows = PassageWindows(inputs, passage_tokens)
        self._span_term = span_term
        self._words = WordBoundaries(inputs)
        self._continuations = continuation_ids(inputs)

    @classmethod
    def build(cls, setup: ObjectiveSetup) -> Self:
        chosen = setup.settings.objectives
        return cls(
            setup.model.inputs,
            mask_chooser(chosen.masked_lm_masks, setup.tagger),
            setup.search,
            batch_size=chosen.masked_lm_batch,
            candidates=setup.settings.model.candidates,
            passage_tokens=chosen.train_passage_tokens,
            span_term=chosen.masked_lm_span_term,
        )

    def batch(self, passages: Iterator[Passage], rng: random.Random) -> MaskedBatch:
        """Masks sentences and searches for each.

        :raises NotReady: if the passages hold too little of use, or no candidate is left.
        :raises DependencyUnavailable: if the index does not answer.
        """
        sentences: list[MaskedSentence] = []
        draw = iter(PassageSource(passages, self.skipped, self.name, self._batch_size))
        while len(sentences) < self._batch_size:
            drawn = islice(draw, self._batch_size - len(sentences))
            tries = [
                [(one.passage_id, text) for text in shuffled_sentences(one.text, rng)]
                for one in drawn
            ]
            masked = first_success_per_item(tries, lambda each: self._masker.mask_all(each, rng))
            sentences += [one for one in masked if one is not None]
        asked = [Asked(one.visible, self._inputs.query_from_ids(one.ids)) for one in sentences]
        found = self._search.search(asked, SEARCH_FACTOR * self._places)
        batch = MaskedBatch([], [])
        for sentence, candidates in zip(sentences, found, strict=True):
            kept = usable_candidates(
                candidates, sentence.text, sentence.passage_id, self._places - 1, self.skipped
            )
            if not kept:
                self.skipped["no_candidates"] += 1
                continue
            batch.sentences.append(sentence)
            batch.candidates.append([self._cut(one, sentence, rng) for one in kept])
        if not batch.sentences:
            raise NotReady("the live index holds no passage that these masked sentences may use")
        return batch

    def loss(self, batch: MaskedBatch, model: Model) -> Loss:
        """−log p(y|x), plus with the span term −log of the answer's share of all spans, each a
        mean over its rows.

        The retriever learns by the first once passages help: once log p(y|x) − log p(y|∅, x), a
        moving average, is surely above `MIN_GAIN`.
        """
        scores, valid = self._scores(batch, model)  # [b, k]
        read = self._predict(batch, model)
        trusted = scores if self.utility_gate.open else scores.detach()
        prior = log_prior(trusted, valid)  # [b, k]
        marginal = marginal_log_likelihood(
            prior, read.target_log_probs, read.target_mask, model.config.marginal
        )
        value, figures = -marginal.mean(), dict[str, float]()
        if read.spans is not None:
            span_loss, figures = self._spans_loss(scores, valid, read.spans)
            value = value + span_loss
        with torch.no_grad():
            likelihoods = sequence_log_likelihoods(read.target_log_probs, read.target_mask)
            gains = retrieval_utility(likelihoods, likelihoods[:, 0])  # [b, k]
            utility = gains[:, 1:][valid[:, 1:]].mean().item()
            gain = (marginal - likelihoods[:, 0]).mean().item()
        # Not the mean utility: while most candidates are wrong ones, which mislead, that stays
        # below 0 – just when the retriever has the most to learn.
        self.utility_gate.observe(gain)
        figures |= {
            "loss": -marginal.mean().item(),
            "retrieval_utility": utility,
            "retrieval_gain": gain,
            "null_prior": prior[:, 0].exp().mean().item(),
            "signal": float(self.utility_gate.open),
        }
        return Loss(value, figures)

    def state(self) -> dict[str, Any]:
        return {"utility": self.utility_gate.state(), "span": self.span_gate.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.utility_gate.restore(state["utility"])
        self.span_gate.restore(state["span"])

    def _cut(self, candidate: Candidate, sentence: MaskedSentence, rng: random.Random) -> Candidate:
        found = (
            whole_word_matches(candidate.body_ids, sentence.targets, self._continuations)
            if sentence.is_span
            else []
        )
        if not found:
            return self._windows.window(candidate, rng)
        start = found[0]
        return self._windows.window(candidate, rng, (start, start + len(sentence.targets)))

    def _scores(self, batch: MaskedBatch, model: Model) -> tuple[Tensor, Tensor]:
        """f(x, z) with the parameters being trained, and which places are taken: both [b, k].

        The index's own inner products are stale: they chose the candidates and play no part here.
        Words do not grow stale; ∅ has none.
        """
        retriever = model.retriever
        pad, device = self._inputs.pad, retriever.passage.device
        found, rows = self._windows.distinct(batch.candidates)
        passages = [self._inputs.null_passage(), *found]
        table = torch.zeros(len(batch.sentences), self._places, dtype=torch.long)
        valid = torch.zeros(len(batch.sentences), self._places, dtype=torch.bool)
        words = torch.zeros(len(batch.sentences), self._places)
        valid[:, 0] = True
        for i, own in enumerate(rows):
            table[i, 1 : len(own) + 1] = torch.tensor(own) + 1
            valid[i, 1 : len(own) + 1] = True
            words[i, 1 : len(own) + 1] = torch.tensor([one.words for one in batch.candidates[i]])
        queries = [self._inputs.query_from_ids(sentence.ids) for sentence in batch.sentences]
        # Nothing flows back through closed gates: the graph need not be kept.
        learning = self.utility_gate.open or self.span_gate.open
        with torch.set_grad_enabled(learning and torch.is_grad_enabled()):
            query_vectors = retriever.query(*tensors(queries, pad, device))  # [b, size]
            vectors = retriever.passage(*tensors(passages, pad, device))  # [n, size]
            own_vectors = vectors[table.to(device)]  # [b, k, size]
            scores = retriever.score(query_vectors, own_vectors, words.to(device))  # [b, k]
        return scores, valid.to(device)

    def _predict(self, batch: MaskedBatch, model: Model) -> _Predictions:
        """Reads every sentence with every place; a place not taken reads like the null document."""
        device, places = model.reader.device, self._places
        inputs, bodies = [], []
        for sentence, candidates in zip(batch.sentences, batch.candidates, strict=True):
            own = [candidate.body_ids for candidate in candidates]
            own = [[], *own, *[[]] * (places - 1 - len(own))]
            inputs += [self._inputs.reader(sentence.ids, body) for body in own]
            bodies += own
        ids, segments, mask = tensors(inputs, self._inputs.pad, device)  # [b·k, tokens]
        hidden = model.reader.hidden(ids, segments, mask)  # [b·k, tokens, hidden]
        positions, targets, target_mask = (t.to(device) for t in masked_targets(batch.sentences))
        log_probs = model.reader.target_log_probs(
            hidden, positions.repeat_interleave(places, 0), targets.repeat_interleave(places, 0)
        )  # [b·k, J]
        by_place = log_probs.view(len(batch.sentences), places, -1)  # [b, k, J]
        spans = None
        if self._span_term:
            answers = [one.targets if one.is_span else [] for one in batch.sentences]
            of_row = [answer for answer in answers for _ in range(places)]
            logits = model.reader.span_logits(hidden, body_mask(segments, mask))
            spans = self._spans(logits, inputs, bodies, of_row)
        return _Predictions(by_place, target_mask, spans)

    def _spans(
        self,
        spans: SpanLogits,
        inputs: list[Encoded],
        bodies: list[list[int]],
        answers: list[list[int]],
    ) -> _SpanScores:
        """Spans of whole words, as they are served, and where the answers stand."""
        widths = spans.valid.shape[-1]
        whole = torch.zeros(spans.valid.shape, dtype=torch.bool)
        matches = torch.zeros(spans.valid.shape, dtype=torch.bool)
        for row, (read, body, answer) in enumerate(zip(inputs, bodies, answers, strict=True)):
            kept = sum(read.segments) - 1
            first = len(read) - 1 - kept
            words = torch.from_numpy(self._words.whole_words(body, kept, widths))
            whole[row, first : first + kept] = words
            if answer and len(answer) <= widths:
                for start in whole_word_matches(body[:kept], answer, self._continuations):
                    matches[row, first + start, len(answer) - 1] = True
        device = spans.logits.device
        readable = spans.valid & whole.to(device)
        return _SpanScores(
            spans.logits.masked_fill(~readable, -torch.inf), matches.to(device) & readable
        )

    def _spans_loss(
        self, scores: Tensor, valid: Tensor, spans: _SpanScores
    ) -> tuple[Tensor, dict[str, float]]:
        """−log p(answer span|x) by the joint softmax over (z, span), reader plus retriever score.

        REALM's open-QA fine-tuning (section 3.2); 0 for sentences whose answer no passage holds.
        """
        trusted = scores if self.span_gate.open else scores.detach()
        retrieval = trusted.masked_fill(~valid, -torch.inf).flatten()[:, None, None]  # [b·k, 1, 1]
        shape = (len(scores), -1)
        matches = spans.matches.view(shape)  # [b, k·starts·widths]
        term = span_marginal((spans.logits + retrieval).view(shape), matches)
        matched = term.matched.sum()
        likelihood = term.log_likelihood.sum() / matched.clamp(min=1)
        figures = {"span_matched": term.matched.float().mean().item()}
        if matched:
            with torch.no_grad():
                # The same with a head that knows nothing: what is above it, the head has learnt.
                blind = spans.logits.masked_fill(spans.logits.isfinite(), 0.0)
                chance = span_marginal((blind + retrieval).view(shape), matches)
                gain = (term.log_likelihood - chance.log_likelihood).sum() / matched
            self.span_gate.observe(gain.item())
            figures |= {"span_loss": -likelihood.item(), "span_gain": gain.item()}
        return -likelihood, figures


def masked_targets(sentences: list[MaskedSentence]) -> tuple[Tensor, Tensor, Tensor]:
    """Positions in the reader's input, target ids and their mask, each [b, J]."""
    longest = max(len(sentence.targets) for sentence in sentences)
    positions = torch.zeros(len(sentences), longest, dtype=torch.long)
    targets = torch.zeros(len(sentences), longest, dtype=torch.long)
    mask = torch.zeros(len(sentences), longest, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        used = len(sentence.targets)
        # [CLS] comes first.
        positions[row, :used] = torch.tensor(sentence.positions) + 1
        targets[row, :used] = torch.tensor(sentence.targets)
        mask[row, :used] = True
    return positions, targets, mask

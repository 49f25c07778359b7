"""Answers from passages: spans read, weighed by the retriever, and summed by their text.

p(y|x) = Σ over (z, span of z that reads y) of the joint softmax over all passages and spans of
[span score + log p(z|x)] (REALM, section 3.2, Open-QA; its reader logit is span MLP + f(x, z)).
Where the reader has learnt it, the null document takes part with the empty answer: its share is
P(no answer). A span says neither yes nor no: where that is asked, y is the sentence that it begins
in. For stored questions, as of a FAQ, see `realm.model.stored_answers`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from realm.model.answers import NOTHING_READ, Answers, FoundAnswer, Reading, Support
from realm.model.calibration import calibrate
from realm.model.config import AnswerRules
from realm.model.encoders import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, collate, plan_batches
from realm.model.inputs import InputBuilder, ReaderInput
from realm.model.reader import Reader
from realm.model.stored_answers import to_read, with_stored
from realm.text.questions import asks_yes_or_no, normalise_answer
from realm.text.sentences import sentence_spans

#: Spans that together weigh less are left out of the sums: no answer can change by more.
NEGLIGIBLE_MASS = 1e-5


@dataclass(frozen=True, slots=True)
class Prepared:
    """A reading, and what the reader reads of it: the passages whose places are `rows`, a reading
    of their own, and, where that was learnt, ∅.
    """

    whole: Reading
    reading: Reading
    rows: list[int]
    bodies: tuple[ReaderInput, ...]

    @property
    def tokens(self) -> int:
        return sum(len(body.encoded) for body in self.bodies)


def prepare(reader: Reader, inputs: InputBuilder, reading: Reading) -> Prepared:
    """Tokenises a reading's question, once, and its passages."""
    part, rows = to_read(reading)
    if reading.passages and not rows:
        return Prepared(reading, part, rows, ())
    # ∅ is read as an empty passage, after the others.
    texts = (*part.passages, "") if reader.answers.null else part.passages
    bodies = tuple(ReaderInput.build_each(inputs, part.question, texts))
    return Prepared(reading, part, rows, bodies)


def answer_questions(
    reader: Reader,
    inputs: InputBuilder,
    readings: Sequence[Reading],
    *,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> list[Answers]:
    """The best answers to each question; none where nothing is readable.

    `dtype` is the backbone's number format (see `runtime.best_dtype`).
    """
    prepared = [prepare(reader, inputs, one) for one in readings]
    return answer_prepared(reader, prepared, inputs.pad, token_budget=token_budget, dtype=dtype)


def answer_prepared(
    reader: Reader,
    prepared: Sequence[Prepared],
    pad_id: int,
    *,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> list[Answers]:
    """As `answer_questions`; a computation alone, without tokenizer."""
    bodies = [body for one in prepared for body in one.bodies]
    scores = _score_spans(reader, bodies, pad_id, token_budget, dtype)
    answers: list[Answers] = []
    at = 0
    for one in prepared:
        upto = at + len(one.bodies)
        read = NOTHING_READ
        if one.rows or not one.whole.passages:
            read = _answers(one.reading, one.bodies, scores[at:upto], reader.answers)
        answers.append(with_stored(one.whole, read, one.rows))
        at = upto
    return answers


def with_null_document(log_priors: Sequence[float]) -> tuple[list[float], float]:
    """log p(z|x) of k passages and of the null document ∅, which takes one of k + 1 places.

    ∅ is in no index and says nothing about x, so that its share is 1 / (k + 1) whatever was found.
    """
    places = len(log_priors) + 1
    rest = math.log1p(-1 / places) - _log_sum_exp(np.array(log_priors)) if log_priors else 0.0
    return [prior + rest for prior in log_priors], -math.log(places)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Of one body: its spans [pieces, widths], the empty span, and the passage, if that has one."""

    spans: NDArray[np.float32]
    null: float
    passage: float | None


def _score_spans(
    reader: Reader,
    bodies: Sequence[ReaderInput],
    pad_id: int,
    token_budget: int | None,
    dtype: torch.dtype | None,
) -> list[_Scores]:
    """The scores of each body."""
    device = reader.device
    budget = token_budget or (CUDA_TOKEN_BUDGET if device.type == "cuda" else CPU_TOKEN_BUDGET)
    scores: dict[int, _Scores] = {}
    half = dtype not in (None, torch.float32)
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=half):
        for batch in plan_batches([len(body.encoded) for body in bodies], budget):
            chosen = [bodies[i].encoded for i in batch]
            tensors = collate(chosen, pad_id, multiple=reader.pad_multiple)
            ids, segments, mask = (tensor.to(device) for tensor in tensors)
            spans = reader(ids, segments, mask)
            found = spans.logits.float().cpu().numpy()  # [batch, starts, widths]
            nulls = spans.null.float().cpu().tolist()
            whole = [None] * len(batch) if spans.passage is None else spans.passage.cpu().tolist()
            for row, i in enumerate(batch):
                first, pieces = bodies[i].first, len(bodies[i].offsets)
                scores[i] = _Scores(found[row, first : first + pieces], nulls[row], whole[row])
    return [scores[i] for i in range(len(bodies))]


@dataclass(frozen=True, slots=True)
class _Spans:
    """All whole-word spans of a question's passages, flat, each array [spans].

    `log_mass` is the span's share in the joint softmax, `log_share` that in its own passage;
    `no_answer` is the null document's share in the former.
    """

    passage: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    log_mass: NDArray[np.float64]
    log_share: NDArray[np.float64]
    no_answer: float


def _answers(
    reading: Reading, bodies: Sequence[ReaderInput], scores: Sequence[_Scores], rules: AnswerRules
) -> Answers:
    spans = _joint_softmax(reading, bodies, scores, rules.null)
    if asks_yes_or_no(reading.question):
        spans = _whole_sentences(spans, reading.passages)
    normalised = lru_cache(None)(normalise_answer)
    rows_by_text: dict[str, list[int]] = {}
    for row in _heaviest_spans(spans.log_mass):
        text = reading.passages[spans.passage[row]][spans.start[row] : spans.end[row]]
        # Articles and punctuation alone are part of the softmax, but no answer.
        if said := normalised(text):
            rows_by_text.setdefault(said, []).append(row)
    masses = np.exp(spans.log_mass)
    weighed = [(float(masses[rows].sum()), rows) for rows in rows_by_text.values()]
    ranked = sorted(weighed, key=lambda one: -one[0])
    shares = [min(share, 1.0 - spans.no_answer) for share, _ in ranked[: reading.answers]]
    probabilities = calibrate(shares, spans.no_answer, rules)
    found = tuple(
        _answer(reading, spans, rows, probability)
        for probability, (_, rows) in zip(probabilities, ranked, strict=False)
    )
    abstains = spans.no_answer > max(shares, default=0.0)
    evidence = tuple(
        _evidence(body, own)
        for body, own in zip(bodies[: len(reading.passages)], scores, strict=False)
    )
    added = tuple(
        rules.evidence * each if own.passage is None else own.passage
        for each, own in zip(evidence, scores, strict=False)
    )
    return Answers(found, spans.no_answer, abstains, evidence, added)


def _evidence(body: ReaderInput, scores: _Scores) -> float:
    """The best span of whole words less the empty one; 0 where there is none."""
    readable = scores.spans[body.whole_words(scores.spans.shape[1]) & np.isfinite(scores.spans)]
    return float(readable.max()) - scores.null if len(readable) else 0.0


def _answer(reading: Reading, spans: _Spans, rows: list[int], probability: float) -> FoundAnswer:
    """`rows` are the spans of one text, the weightiest first."""
    by_passage: dict[int, list[int]] = {}
    for row in rows:
        by_passage.setdefault(int(spans.passage[row]), []).append(row)
    masses = np.exp(spans.log_mass)
    ranked = sorted(by_passage.items(), key=lambda item: -masses[item[1]].sum())
    supports = tuple(
        Support(
            passage=passage,
            prior=float(np.exp(reading.log_priors[passage])),
            likelihood=min(1.0, float(np.exp(spans.log_share[of]).sum())),
            start=int(spans.start[of[0]]),
            end=int(spans.end[of[0]]),
        )
        for passage, of in ranked
    )
    best = supports[0]
    text = reading.passages[best.passage][best.start : best.end]
    return FoundAnswer(text, probability, supports)


def _joint_softmax(
    reading: Reading, bodies: Sequence[ReaderInput], scores: Sequence[_Scores], null: bool
) -> _Spans:
    """With `null` the last body is the null document's."""
    priors, of_null = (
        with_null_document(reading.log_priors) if null else (reading.log_priors, -math.inf)
    )
    parts = []
    for number, prior in enumerate(priors):
        body, logits = bodies[number], scores[number].spans
        starts, widths = np.nonzero(body.whole_words(logits.shape[1]) & np.isfinite(logits))
        ends = starts + widths
        chosen = logits[starts, widths].astype(np.float64)  # [spans]
        share = chosen - _log_sum_exp(chosen)
        where = np.full(len(starts), number)
        begin, stop = body.offsets[starts, 0], body.offsets[ends, 1]
        parts.append((where, begin, stop, chosen + prior, share))
    empty = of_null + scores[-1].null if null else -math.inf
    if not parts:
        return _Spans(*(np.zeros(0, np.int64),) * 3, *(np.zeros(0),) * 2, float(null))
    passage, start, end, logit, share = (np.concatenate(each) for each in zip(*parts, strict=True))
    total = _log_sum_exp(np.append(logit, empty))
    return _Spans(passage, start, end, logit - total, share, math.exp(empty - total))


def _whole_sentences(spans: _Spans, passages: Sequence[str]) -> _Spans:
    """Each span widened to the sentence that it begins in."""
    starts, ends = spans.start.copy(), spans.end.copy()
    for number, text in enumerate(passages):
        own = spans.passage == number
        bounds = np.array(sentence_spans(text), np.int64).reshape(-1, 2)
        if not len(bounds) or not own.any():
            continue
        places = np.searchsorted(bounds[:, 0], spans.start[own], side="right") - 1
        starts[own] = np.minimum(starts[own], bounds[places.clip(0), 0])
        ends[own] = bounds[places.clip(0), 1]
    return replace(spans, start=starts, end=ends)


def _heaviest_spans(log_mass: NDArray[np.float64]) -> Iterator[int]:
    """Spans, the weightiest first, until the rest together is negligible."""
    left = float(np.exp(log_mass).sum())
    for row in np.argsort(-log_mass, kind="stable"):
        if left <= NEGLIGIBLE_MASS:
            return
        left -= float(np.exp(log_mass[row]))
        yield int(row)


def _log_sum_exp(values: NDArray[np.float64]) -> float:
    most = values.max(initial=-np.inf)
    return float(most + np.log(np.exp(values - most).sum())) if np.isfinite(most) else 0.0

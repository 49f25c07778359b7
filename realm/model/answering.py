"""Answers from passages: spans read, weighed by the retriever, and summed by their text.

p(y|x) = Σ over (z, span of z that reads y) of the joint softmax over all passages and spans of
[span score + log p(z|x)] (REALM, section 3.2, Open-QA; its reader logit is span MLP + f(x, z)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from realm.errors import InvalidInput
from realm.model.encoders import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, collate, plan_batches
from realm.model.inputs import Encoded, InputBuilder
from realm.model.reader import Reader
from realm.scoring import normalise_answer

#: Spans that together weigh less are left out of the sums: no answer can change by more.
NEGLIGIBLE_MASS = 1e-5


@dataclass(frozen=True, slots=True)
class Reading:
    """A question with the passages to read it in and log p(z|x) of each."""

    question: str
    passages: tuple[str, ...]
    log_priors: tuple[float, ...]
    answers: int = 1

    def __post_init__(self) -> None:
        if len(self.passages) != len(self.log_priors):
            raise InvalidInput(
                f"{len(self.passages)} passages cannot have {len(self.log_priors)} probabilities"
            )


@dataclass(frozen=True, slots=True)
class Support:
    """A passage that reads an answer: which of the reading's, and where, in characters.

    `prior` is p(z|x); `likelihood` is p(y|z,x), the softmax within the passage, summed over its
    spans of this text; [`start`, `end`) is the best of those spans in the passage's text.
    """

    passage: int
    prior: float
    likelihood: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FoundAnswer:
    """y as it stands in its best source, p(y|x), and the passages that support it, best first."""

    text: str
    probability: float
    supports: tuple[Support, ...]


def answer_questions(
    reader: Reader,
    inputs: InputBuilder,
    readings: Sequence[Reading],
    *,
    token_budget: int | None = None,
    dtype: torch.dtype | None = None,
) -> list[list[FoundAnswer]]:
    """The best answers to each question, most probable first; none where nothing is readable.

    `dtype` is the backbone's number format (see `runtime.best_dtype`).
    """
    bodies = [Body.of(inputs, one.question, text) for one in readings for text in one.passages]
    scores = _read(reader, bodies, inputs.pad, token_budget, dtype)
    answers: list[list[FoundAnswer]] = []
    at = 0
    for one in readings:
        upto = at + len(one.passages)
        answers.append(_answers(one, bodies[at:upto], scores[at:upto]))
        at = upto
    return answers


@dataclass(frozen=True, slots=True)
class Body:
    """A reader input, and of its body's word pieces where they stand and which end words.

    Training and answering both take their spans from here.

    `first` is the body's first token in the input; `offsets` [pieces, 2] are characters of the
    passage; `begins` and `ends` [pieces] mark the first and the last piece of each word.
    """

    encoded: Encoded
    first: int
    offsets: NDArray[np.int64]
    begins: NDArray[np.bool_]
    ends: NDArray[np.bool_]

    @classmethod
    def of(cls, inputs: InputBuilder, question: str, text: str) -> Body:
        ids, offsets = inputs.tokenize(text)
        encoded = inputs.reader(inputs.tokenize(question)[0], ids)
        kept = max(0, sum(encoded.segments) - 1)
        piece = inputs.tokenizer.id_to_token
        continues = np.array([str(piece(i)).startswith("##") for i in ids] + [False], np.bool_)
        return cls(
            encoded=encoded,
            first=len(encoded) - 1 - kept,
            offsets=np.array(offsets, np.int64).reshape(-1, 2)[:kept],
            begins=~continues[:kept],
            # A word that the reader's length cuts in two has no end.
            ends=~continues[1 : kept + 1],
        )

    def whole_words(self, widths: int) -> NDArray[np.bool_]:
        """Spans that start and end with a word [pieces, widths]; [i, w] is pieces i … i + w."""
        ends = np.concatenate([self.ends, np.zeros(widths, np.bool_)])
        whole: NDArray[np.bool_] = self.begins[:, None] & sliding_window_view(ends, widths)[:-1]
        return whole


def _read(
    reader: Reader,
    bodies: Sequence[Body],
    pad_id: int,
    token_budget: int | None,
    dtype: torch.dtype | None,
) -> list[NDArray[np.float32]]:
    """Span scores [pieces, widths] of each body."""
    device = reader.device
    budget = token_budget or (CUDA_TOKEN_BUDGET if device.type == "cuda" else CPU_TOKEN_BUDGET)
    scores: dict[int, NDArray[np.float32]] = {}
    half = dtype not in (None, torch.float32)
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=half):
        for batch in plan_batches([len(body.encoded) for body in bodies], budget):
            tensors = collate([bodies[i].encoded for i in batch], pad_id)
            ids, segments, mask = (tensor.to(device) for tensor in tensors)
            logits = reader(ids, segments, mask).logits  # [batch, starts, widths]
            found = logits.float().cpu().numpy()
            for row, i in enumerate(batch):
                first, pieces = bodies[i].first, len(bodies[i].offsets)
                scores[i] = found[row, first : first + pieces]
    return [scores[i] for i in range(len(bodies))]


@dataclass(frozen=True, slots=True)
class _Spans:
    """All whole-word spans of a question's passages, flat, each array [spans].

    `log_mass` is the span's share in the joint softmax, `log_share` that in its own passage.
    """

    passage: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    log_mass: NDArray[np.float64]
    log_share: NDArray[np.float64]


def _answers(
    reading: Reading, bodies: Sequence[Body], scores: Sequence[NDArray[np.float32]]
) -> list[FoundAnswer]:
    spans = _joint_softmax(reading, bodies, scores)
    rows_by_text: dict[str, list[int]] = {}
    for row in _weighty(spans.log_mass):
        text = reading.passages[spans.passage[row]][spans.start[row] : spans.end[row]]
        # Articles and punctuation alone are part of the softmax, but no answer.
        if normalised := normalise_answer(text):
            rows_by_text.setdefault(normalised, []).append(row)
    masses = np.exp(spans.log_mass)
    ranked = sorted(rows_by_text.values(), key=lambda rows: -masses[rows].sum())
    return [_answer(reading, spans, rows) for rows in ranked[: reading.answers]]


def _answer(reading: Reading, spans: _Spans, rows: list[int]) -> FoundAnswer:
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
    return FoundAnswer(text, min(1.0, float(masses[rows].sum())), supports)


def _joint_softmax(
    reading: Reading, bodies: Sequence[Body], scores: Sequence[NDArray[np.float32]]
) -> _Spans:
    parts = []
    for number, (body, logits) in enumerate(zip(bodies, scores, strict=True)):
        starts, widths = np.nonzero(body.whole_words(logits.shape[1]) & np.isfinite(logits))
        ends = starts + widths
        chosen = logits[starts, widths].astype(np.float64)  # [spans]
        share = chosen - _log_sum(chosen)
        where = np.full(len(starts), number)
        begin, stop = body.offsets[starts, 0], body.offsets[ends, 1]
        parts.append((where, begin, stop, chosen + reading.log_priors[number], share))
    if not parts:
        return _Spans(*(np.zeros(0, np.int64),) * 3, *(np.zeros(0),) * 2)
    passage, start, end, logit, share = (np.concatenate(each) for each in zip(*parts, strict=True))
    return _Spans(passage, start, end, logit - _log_sum(logit), share)


def _weighty(log_mass: NDArray[np.float64]) -> Iterator[int]:
    """Spans, the weightiest first, until the rest together is negligible."""
    left = 1.0
    for row in np.argsort(-log_mass, kind="stable"):
        if left <= NEGLIGIBLE_MASS:
            return
        left -= float(np.exp(log_mass[row]))
        yield int(row)


def _log_sum(values: NDArray[np.float64]) -> float:
    most = values.max(initial=-np.inf)
    return float(most + np.log(np.exp(values - most).sum())) if np.isfinite(most) else 0.0

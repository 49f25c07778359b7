"""Reading with known answers: the reader's term of REALM's open-QA fine-tuning.

Per question the joint softmax over all (passage, span) of [span score + f(x, z)], its numerator
the sum over every span that reads an answer (REALM, section 3.2; Lee et al. 2019, eq. 7). Spans
are those of `realm.model.inputs`: what is trained is what is served.

With `null` the null document ∅ takes part with its one span, the empty answer: an example without
any answer teaches that span, every other example teaches against it.

A reader with a head for passages learns a second term: the share of passages that hold an answer
in the softmax of f(x, z) + head(x, z), by which it re-ranks (Nogueira and Cho 2019, over a list).
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from realm.errors import InvalidInput
from realm.model.answering import with_null_document
from realm.model.encoders import CPU_TOKEN_BUDGET, CUDA_TOKEN_BUDGET, plan_batches
from realm.model.inputs import MIN_BODY_TOKENS, InputBuilder, ReaderInput
from realm.model.likelihood import retriever_answer_marginal, span_marginal
from realm.model.reader import Reader
from realm.objectives.objective import Loss, ObjectiveSetup, tensors
from realm.text.questions import normalise_answer

_ARTICLE_LETTERS = frozenset("antheال")


@dataclass(frozen=True, slots=True)
class ReadingExample:
    """A question, its answers, and passages to read with f(x, z) of each, not normalised.

    Without answers it says that none of the passages holds one.
    """

    question: str
    answers: tuple[str, ...]
    passages: tuple[str, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.passages or len(self.passages) != len(self.scores):
            raise InvalidInput(
                f"{len(self.scores)} scores do not fit {len(self.passages)} passages of the"
                f" question {self.question!r}: give one or more passages and a score for each"
            )


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """An example as model input; `matches` [pieces, widths] marks each body's spans that answer.

    With `null` the last body is the null document's: no pieces, one empty span, which answers if
    `unanswerable`.
    """

    bodies: tuple[ReaderInput, ...]
    matches: tuple[NDArray[np.bool_], ...]
    scores: tuple[float, ...]
    null: bool = False
    unanswerable: bool = False

    @property
    def passages(self) -> int:
        """k, without the null document."""
        return len(self.bodies) - self.null


class ReaderLoss:
    """Supervised reading: no objective by itself, but what objectives and `train-reader` share.

    `skipped` counts, by reason, examples that teach nothing.

    :param max_span_width: the reader's longest span, in word pieces.
    :param reader_tokens: longest reader input in training; a longer passage is cut to a window,
        around an answer if it holds one.
    :param token_budget: padded tokens that go through the reader at once.
    :param null: whether the null document takes part; without it, an example needs an answer.
    """

    def __init__(
        self,
        inputs: InputBuilder,
        *,
        max_span_width: int,
        reader_tokens: int,
        token_budget: int | None = None,
        null: bool = False,
    ) -> None:
        self.skipped: Counter[str] = Counter()
        self.null = null
        self._inputs = inputs
        # Whole passages, in which a window is looked for.
        self._uncut = InputBuilder(inputs.tokenizer, replace(inputs.limits, reader=sys.maxsize))
        self._widths = max_span_width
        self._reader_tokens = min(reader_tokens, inputs.limits.reader)
        self._token_budget = token_budget

    @classmethod
    def build(cls, setup: ObjectiveSetup, *, null: bool = False) -> Self:
        """Reads as much of a passage as the retriever does, beside the question."""
        lengths, inputs = setup.settings.model, setup.model.inputs
        passage = setup.settings.objectives.train_passage_tokens or inputs.limits.passage
        return cls(
            inputs,
            max_span_width=setup.model.config.max_span_width,
            reader_tokens=min(passage + lengths.query_tokens, lengths.reader_tokens),
            null=null,
        )

    def batch(self, examples: Sequence[ReadingExample], rng: random.Random) -> list[EncodedExample]:
        """Those of the examples with at least one answer to point at."""
        tasks = [self.encode(example, rng) for example in examples]
        return [task for task in tasks if task is not None]

    def loss(self, batch: Sequence[EncodedExample], reader: Reader) -> Loss:
        """−log p(y|x), a mean over the tasks.

        :raises InvalidInput: if the batch is empty.
        """
        if not batch:
            raise InvalidInput("a batch without a task has no loss")
        loss = -self.log_likelihoods(batch, reader).mean()
        return Loss(loss, {"loss": loss.item()})

    def log_likelihoods(
        self,
        batch: Sequence[EncodedExample],
        reader: Reader,
        scores: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """log p(y|x) of each task [b], of which there must be some; a reader with a head for
        passages adds the log of the share that passages with an answer have by it.

        :param scores: f(x, z) of each task's passages, each [k], in place of the tasks' own: a
            gradient through them reaches the retriever. The null document's share is added here.
        """
        # Spans [b, k, starts, widths], their matches, passages [b, k]
        logits, matches, ranking = self._joint(batch, reader, scores)
        term = span_marginal(logits, matches)
        # Every task has a match: one that is lost among the logits was not finite.
        read = term.log_likelihood.masked_fill(~term.matched, torch.nan)
        if ranking is None:
            return read
        # The null document is in no ranking; where no passage holds an answer nothing is learnt.
        holds = matches.flatten(2).any(dim=2) & ranking.isfinite()  # [b, k]
        return read + retriever_answer_marginal(ranking, holds).log_likelihood

    def encode(self, example: ReadingExample, rng: random.Random) -> EncodedExample | None:
        """None, and the reason counted, if there is no answer to point at."""
        answers = {normalise_answer(answer) for answer in example.answers} - {""}
        unanswerable = self.null and not example.answers
        if not answers and not unanswerable:
            self.skipped["empty_answer"] += 1
            return None
        texts = [self._window(example.question, text, answers, rng) for text in example.passages]
        bodies = tuple(ReaderInput.build_each(self._inputs, example.question, texts))
        matches = tuple(
            answer_spans(text, body, answers, self._widths)
            for text, body in zip(texts, bodies, strict=True)
        )
        if not unanswerable and not any(marked.any() for marked in matches):
            self.skipped["no_answer_span"] += 1
            return None
        if not self.null:
            return EncodedExample(bodies, matches, example.scores)
        priors, of_null = with_null_document(example.scores)
        empty = ReaderInput.build(self._inputs, example.question, "")
        unmarked = np.zeros((0, self._widths), np.bool_)
        return EncodedExample(
            (*bodies, empty), (*matches, unmarked), (*priors, of_null), True, unanswerable
        )

    def _window(self, question: str, text: str, answers: set[str], rng: random.Random) -> str:
        """The text, or as much of it in one run of words as the reader's length leaves room for."""
        body = ReaderInput.build(self._uncut, question, text)
        room = max(MIN_BODY_TOKENS, self._reader_tokens - body.first - 1)
        pieces = len(body.offsets)
        if pieces <= room:
            return text
        starts, widths = np.nonzero(answer_spans(text, body, answers, self._widths))
        least, most = 0, pieces - room
        if len(starts):
            kept = rng.randrange(len(starts))
            # Wherever the window begins between these, the span lies in it.
            least = max(least, int(starts[kept] + widths[kept]) + 1 - room)
            most = min(most, int(starts[kept]))
        begins = np.flatnonzero(body.begins[least : most + 1]) + least
        first = int(rng.choice(begins)) if len(begins) else most
        last = min(pieces, first + room) - 1
        while last > first and not body.ends[last]:
            last -= 1
        return text[body.offsets[first, 0] : body.offsets[last, 1]]

    def _joint(
        self, batch: Sequence[EncodedExample], reader: Reader, scores: Sequence[Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits of whole-word spans plus f(x, z), −inf elsewhere, and the matches: both
        [b, k, starts, widths]. Of a reader with a head for passages also its score plus f(x, z)
        [b, k], −inf for the null document and where there is no passage; f does not learn by it.
        """
        bodies = [body for task in batch for body in task.bodies]
        places = [(row, k) for row, task in enumerate(batch) for k in range(len(task.bodies))]
        marks = [marked for task in batch for marked in task.matches]
        longest = max(len(body.encoded) for body in bodies)
        shape = (len(batch), max(len(task.bodies) for task in batch), longest, self._widths)
        device = reader.device
        dtype = torch.promote_types(next(reader.parameters()).dtype, torch.float32)
        # [b, k, starts, widths]
        joint = torch.full(shape, -torch.inf, dtype=dtype, device=device)
        if scores is None:
            own = [torch.tensor(task.scores, dtype=dtype) for task in batch]
        else:
            own = [_priors(task, given) for task, given in zip(batch, scores, strict=True)]
        priors = torch.cat(own).to(device, dtype)  # [passages]
        matches = torch.zeros(shape, dtype=torch.bool)
        ranking = torch.full(shape[:2], -torch.inf, dtype=dtype, device=device)  # [b, k]
        on_cuda = device.type == "cuda"
        budget = self._token_budget or (CUDA_TOKEN_BUDGET if on_cuda else CPU_TOKEN_BUDGET)
        for chosen in plan_batches([len(body.encoded) for body in bodies], budget):
            inputs = [bodies[i].encoded for i in chosen]
            spans = reader(*tensors(inputs, self._inputs.pad, device))  # [n, starts, widths]
            readable = torch.zeros(spans.valid.shape, dtype=torch.bool)
            for row, i in enumerate(chosen):
                run = slice(bodies[i].first, bodies[i].first + len(bodies[i].offsets))
                readable[row, run] = torch.from_numpy(bodies[i].whole_words(self._widths))
                matches[places[i]][run] = torch.from_numpy(marks[i])
            empty = torch.tensor([self._is_null(batch, *places[i]) for i in chosen])  # [n]
            # The empty span has the place of [CLS], where no span of a body is.
            readable[:, 0, 0] = empty
            at_cls = readable.new_zeros(readable.shape)
            at_cls[:, 0, 0] = empty
            logits = torch.where(at_cls.to(device), spans.null[:, None, None], spans.logits)
            logits = logits + priors[chosen, None, None]  # [n, starts, widths]
            logits = logits.masked_fill(~readable.to(device), -torch.inf)
            beyond = longest - logits.shape[1]
            rows, columns = zip(*(places[i] for i in chosen), strict=True)
            joint[list(rows), list(columns)] = F.pad(logits, (0, 0, 0, beyond), value=-torch.inf)
            if spans.passage is not None:
                ranked = spans.passage + priors[chosen].detach()  # [n]
                ranked = ranked.masked_fill(empty.to(device), -torch.inf)
                ranking[list(rows), list(columns)] = ranked.to(dtype)
        for row, task in enumerate(batch):
            if task.unanswerable:
                matches[row, len(task.bodies) - 1, 0, 0] = True
        heads = reader.passage_scores is not None
        return joint, matches.to(device), ranking if heads else None

    @staticmethod
    def _is_null(batch: Sequence[EncodedExample], row: int, k: int) -> bool:
        return batch[row].null and k == len(batch[row].bodies) - 1


def _priors(task: EncodedExample, scores: Tensor) -> Tensor:
    """f(x, z) of a task's passages [k], with the null document's place [k + 1] if it takes part.

    As `realm.model.answering.with_null_document` has it, but with a gradient.
    """
    if not task.null:
        return scores
    places = len(scores) + 1
    log_priors = scores.log_softmax(dim=0) + math.log1p(-1 / places)
    return torch.cat([log_priors, scores.new_tensor([-math.log(places)])])


def answer_spans(
    text: str, body: ReaderInput, answers: set[str], max_span_width: int
) -> NDArray[np.bool_]:
    """Which whole-word spans of a body read one of the `answers`: [pieces, widths].

    A span reads an answer if both are the same text after `normalise_answer`; the answers come
    normalised.
    """
    found = body.whole_words(max_span_width)
    starts, widths = np.nonzero(found)
    wanted = {len(answer.replace(" ", "")) for answer in answers}
    # A span reads an answer of as many letters only: most are told apart without their text.
    most, fewest = _letter_bounds(text, body)  # [pieces + 1], cumulative
    longest = most[starts + widths + 1] - most[starts]
    shortest = fewest[starts + widths + 1] - fewest[starts]
    possible = np.zeros(len(starts), np.bool_)
    for size in wanted:
        possible |= (shortest <= size) & (size <= longest)
    found[:] = False
    for start, width in zip(starts[possible], widths[possible], strict=True):
        read = text[body.offsets[start, 0] : body.offsets[start + width, 1]]
        found[start, width] = normalise_answer(read) in answers
    return found


def _letter_bounds(text: str, body: ReaderInput) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bounds of what a span's text keeps in letters, each [pieces + 1], cumulative."""
    most, fewest = [0], [0]
    begins, ends = body.offsets.T.tolist()
    nexts = [*begins, len(text)][1:]  # none if the text has no word piece
    for start, end, following in zip(begins, ends, nexts, strict=True):
        # Up to the next piece: what the tokenizer leaves out still stands in the text.
        most.append(most[-1] + len(_normalised_letters(text[start:following])))
        # An article takes only its own letters away, but may be made of several pieces.
        sure = sum(
            letter not in _ARTICLE_LETTERS for letter in _normalised_letters(text[start:end])
        )
        fewest.append(fewest[-1] + sure)
    return np.array(most, np.int64), np.array(fewest, np.int64)


def _normalised_letters(piece: str) -> str:
    # The x keeps an article from being one.
    return normalise_answer(f"x{piece}")[1:].replace(" ", "")

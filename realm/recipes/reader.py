"""Supervised training of a reader: AdamW, warm-up and decay, clipping, bf16 where it is native.

Word and position embeddings rest: what learns is small enough to ship beside the base.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from realm.evaluation.parallel import no_progress, parallel_map
from realm.model.bert import SelfAttention
from realm.model.reader import Reader
from realm.objectives.reading import EncodedExample, ReaderLoss, ReadingExample
from realm.recipes.reading_examples import QuestionExamples
from realm.training.optimizer import Named, Optimizer, groups_of, require_finite, triangular_share

FROZEN = ("backbone.embeddings.word_embeddings.", "backbone.embeddings.position_embeddings.")
HEADS = ("qa_outputs.", "passage_scores.")
NAME = "reading"  # in errors
TRAINED = ("backbone.", *HEADS)  # the masked-LM head has no part in answers


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How to train. `batch` and `epochs` count questions; `seconds` ends it early, decayed.

    `cloze` is how many cloze examples come on top of each question at first; they get fewer, to
    none at the end. `no_answer` is the share of questions taught without an answer.
    """

    epochs: int = 3
    batch: int = 16
    learning_rate: float = 1.5e-4
    head_learning_rate: float = 3e-4
    warm_up: float = 0.1
    negatives: float = 1.0
    reader_tokens: int = 288
    max_span_width: int = 16
    dropout: float = 0.1
    cloze: float = 0.0
    no_answer: float = 0.0
    seconds: float = math.inf
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ReaderStep:
    """Where training is: steps done of all planned, loss of this step, seconds since the start."""

    number: int
    planned: int
    loss: float
    seconds: float


def train_reader(
    reader: Reader,
    objective: ReaderLoss,
    examples: Sequence[QuestionExamples],
    plan: ReaderPlan,
    *,
    cloze: Sequence[QuestionExamples] = (),
    dtype: torch.dtype = torch.float32,
    on_step: Callable[[ReaderStep], None] = lambda step: None,
) -> ReaderStep:
    """Trains in place, and says how far it came. With a limit of time the rate follows the clock.

    :raises Diverged: if loss or gradient is not finite; the weights are those of the step before.
    """
    reader.eval()
    parameters = learnable_parameters(reader)
    optimizer = _optimizer(parameters, plan)
    clozes = _ClozeSchedule(cloze, plan)
    planned = plan.epochs * math.ceil(len(examples) / plan.batch)
    began = time.monotonic()
    last = ReaderStep(0, planned, math.nan, 0.0)
    with _dropout(reader, plan):
        for chosen, rng in _batches(examples, plan):
            spent = (time.monotonic() - began) / plan.seconds
            if spent >= 1:
                break
            done = max(last.number / planned, spent)
            drawn = [one.example(plan.negatives, rng, plan.no_answer) for one in chosen]
            tasks = objective.batch([*drawn, *clozes.draw(done, rng)], rng)
            loss = math.nan
            if tasks:
                loss = _gradients(objective, tasks, reader, parameters, dtype)
                require_finite("loss", math.isfinite(loss), NAME, last.number + 1)
                factor = triangular_share(done, plan.warm_up, 1 / planned)
                optimizer.step(factor, NAME, last.number + 1)
            last = ReaderStep(last.number + 1, planned, loss, time.monotonic() - began)
            on_step(last)
    return last


@contextmanager
def _dropout(reader: Reader, plan: ReaderPlan) -> Iterator[None]:
    """Dropout after each sublayer while the reader learns; never on attention, which is slow.

    With several compute threads the masks depend on who comes first.
    """
    modules = list(reader.backbone.modules())
    dropped = [module for module in modules if isinstance(module, nn.Dropout)]
    attentions = [module for module in modules if isinstance(module, SelfAttention)]
    before = [module.p for module in dropped]
    # Fused attention has a slow gradient on a processor, for inputs as short as these.
    for attention in attentions:
        attention.fused = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        for module in dropped:
            module.p = plan.dropout
            module.train(plan.dropout > 0)
        try:
            yield
        finally:
            for attention in attentions:
                attention.fused = True
            for module, p in zip(dropped, before, strict=True):
                module.p = p
                module.eval()


class _ClozeSchedule:
    """Cloze examples in turn: many at first, none at the end."""

    def __init__(self, examples: Sequence[QuestionExamples], plan: ReaderPlan) -> None:
        self._examples = examples
        self._plan = plan
        self._next = 0

    def draw(self, done: float, rng: random.Random) -> list[ReadingExample]:
        if not self._examples:
            return []
        count = round(self._plan.cloze * self._plan.batch * (1 - done))
        first, self._next = self._next, self._next + count
        chosen = (self._examples[n % len(self._examples)] for n in range(first, self._next))
        return [one.example(self._plan.negatives, rng) for one in chosen]


def learnable_parameters(reader: Reader) -> Named:
    """Marks the parameters that learn, and returns them by name."""
    chosen = {}
    for name, parameter in reader.named_parameters():
        learns = name.startswith(TRAINED) and not name.startswith(FROZEN)
        parameter.requires_grad_(learns)
        if learns:
            chosen[name] = parameter
    return chosen


def _batches(
    examples: Sequence[QuestionExamples], plan: ReaderPlan
) -> Iterator[tuple[list[QuestionExamples], random.Random]]:
    """Every question once an epoch, in an order that follows from the seed."""
    for epoch in range(plan.epochs):
        rng = random.Random(f"{plan.seed}:{epoch}")
        order = list(examples)
        rng.shuffle(order)
        for start in range(0, len(order), plan.batch):
            yield order[start : start + plan.batch], rng


def _optimizer(parameters: Named, plan: ReaderPlan) -> Optimizer:
    """The fresh heads learn at a rate of their own; the gradient is clipped as a whole."""
    parts = {
        "head": {name: one for name, one in parameters.items() if name.startswith(HEADS)},
        "backbone": {name: one for name, one in parameters.items() if not name.startswith(HEADS)},
    }
    rates = {"head": plan.head_learning_rate, "backbone": plan.learning_rate}
    return Optimizer({"reader": parameters}, groups_of(parts, rates, layer_decay=1.0))


def _gradients(
    objective: ReaderLoss,
    tasks: Sequence[EncodedExample],
    reader: Reader,
    parameters: Named,
    dtype: torch.dtype,
) -> float:
    """Sets the gradients of the mean loss over the tasks, and returns it.

    Each compute thread takes a share of the tasks: threads that share one matrix wait for the
    slowest, and on a busy machine that is most of the time.
    """
    weights = list(parameters.values())

    def work(
        shares: Sequence[Sequence[EncodedExample]], _told: Callable[[int], None]
    ) -> list[tuple[float, tuple[Tensor, ...]]]:
        half = dtype != torch.float32
        results = []
        for share in shares:
            # No cache: threads would share its tensors, and with them a graph.
            with torch.autocast(reader.device.type, dtype=dtype, enabled=half, cache_enabled=False):
                loss = objective.loss(share, reader).value * (len(share) / len(tasks))
            results.append((loss.item(), torch.autograd.grad(loss, weights)))
        return results

    count = min(torch.get_num_threads(), len(tasks)) if reader.device.type == "cpu" else 1
    shares = [tasks[number::count] for number in range(count)]
    results = parallel_map(work, shares, reader.device, no_progress)
    for weight, *gradients in zip(weights, *(each for _, each in results), strict=True):
        weight.grad = torch.stack(gradients).sum(0) if len(gradients) > 1 else gradients[0]
    return math.fsum(loss for loss, _ in results)

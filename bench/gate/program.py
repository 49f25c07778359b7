"""Through the real gate: twenty snapshots whose encoder has noise that costs ten points or more of
held-out R@5 by vectors, twenty whose encoder is fine and whose w is spoiled until it costs as much
by f, twenty whose reader alone has noise that costs ten points of held-out F1, and twenty that are
equal but for rounding."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from bench.claims import Claim, Result, at_least
from bench.datasets import Dataset, QAExample, any_dataset
from bench.gate.calibration import calibrated
from bench.gate.environment import GateEnvironment, Served
from bench.gate.layers import SplitEncoder
from bench.gate.readers import NoisyReaders, readings_of
from bench.harness import Bench, Context
from realm.corpus.passages import Passage, split_document
from realm.model.checkpoint import Model, new_model
from realm.model.relevance import DENSE_ONLY, Relevance
from realm.model.runtime import set_threads
from realm.records.vectors import Vectors
from realm.search.bm25 import Bm25Index
from realm.search.exact import ExactIndex
from realm.search.queries import QueryMaker
from realm.search.word_statistics import WordStatistics

TOP_LAYERS = 2
LEAST_COST = 0.10
#: The calibrated noise costs no more: a gate that sees only ruins proves nothing.
MOST_COST = 0.16
FIRST_SPREAD = 0.3
GROWTH = 1.12
#: Of w: all of it taken away.
FIRST_LOSS = 1.0
#: Each spoiled w lies up to so far beyond what suffices.
FURTHER = 0.3
DEEP = 5


@dataclass(frozen=True, slots=True)
class Parameters:
    """`trials` of noisy encoders and of equal snapshots, `words` of spoiled w, `readers` of noisy
    readers, which answer `readings` probes; `documents`: 0 for all."""

    trials: int
    words: int
    readers: int
    probes: int
    readings: int
    documents: int


@dataclass(frozen=True, slots=True)
class Trial:
    """`cost` is how far held-out R@5 or F1 fell, `fall` how far the gate saw its probes fall."""

    spread: float
    cost: float
    passed: bool
    fall: float
    p_value: float
    why: str


@dataclass(frozen=True, slots=True)
class GateRun:
    noisy: Sequence[Trial]
    words: Sequence[Trial]
    readers: Sequence[Trial]
    equal: Sequence[Trial]
    figures: dict[str, Any]


class Trials:
    """Changes the base's top layers; asks what that costs and what the gate says.

    States below those layers are computed once: of passages, probes and held-out questions.
    """

    def __init__(
        self,
        model: Model,
        texts: Dataset,
        probes: Sequence[QAExample],
        held_out: Sequence[QAExample],
    ) -> None:
        inputs = model.inputs
        self.encoder = SplitEncoder(model.retriever.passage, inputs.pad, TOP_LAYERS)
        self.passages: list[Passage] = [
            each for document in texts.documents for each in split_document(document, 1, inputs)
        ]
        self._held_out = held_out
        self._statistics = WordStatistics.of(self.passages)
        weighed = [self._statistics.passage(p.terms, p.term_counts) for p in self.passages]
        self._words = Bm25Index(weighed)
        lower = self.encoder.lower
        self._passage_states = lower(
            [inputs.passage(each.title_ids, each.body_ids) for each in self.passages]
        )
        self._probe_states = lower([inputs.query(each.question) for each in probes])
        self._held_out_states = lower([inputs.query(each.question) for each in held_out])
        self.first = self.vectors(self.encoder.top, order=0)
        self.judge_by(model.retriever.relevance)
        self.difference = 0.0
        self.readers: NoisyReaders
        self._first_answers: list[str]

    def judge_by(self, relevance: Relevance) -> None:
        """What searches of all snapshots rank by."""
        self.relevance = relevance
        self.base = self._recall(self.encoder.top, self.first[0], relevance)

    def read(self, readers: NoisyReaders) -> Served:
        """The model as it is; its answers are those of every snapshot, but of noisy readers."""
        self.readers = readers
        self._first_answers = readers.answers(readers.reader)
        return self._served(self.first)

    def vectors(self, layers: nn.ModuleList, order: int) -> tuple[Vectors, Vectors]:
        """Of the passages and of the probes, [rows, size] each."""
        return self._passages(layers, order), self._upper(self._probe_states, layers, order)

    def noise_cost(self, spread: float, seed: int) -> float:
        """How far noise in the encoder lowers held-out R@5."""
        layers = self.encoder.noisy(spread, seed)
        return self.base - self._recall(layers, self._passages(layers), self.relevance)

    def words_cost(self, loss: float) -> float:
        """How far R@5 falls if w loses so much of itself; more than 1: words count against."""
        spoiled = self._without_words(loss)
        return self.base - self._recall(self.encoder.top, self.first[0], spoiled)

    def _without_words(self, loss: float) -> Relevance:
        return replace(self.relevance, word_weight=self.relevance.word_weight * (1 - loss))

    def _served(self, vectors: tuple[Vectors, Vectors]) -> Served:
        return Served(*vectors, self._first_answers, self.relevance)

    def noisy(self, gate: GateEnvironment, spread: float, seed: int) -> Trial:
        """As much noise as costs ten points with this seed."""
        while True:
            layers = self.encoder.noisy(spread, seed)
            vectors = self.vectors(layers, order=0)
            cost = self.base - self._recall(layers, vectors[0], self.relevance)
            if cost >= LEAST_COST:
                return _trial(gate, self._served(vectors), spread, cost)
            spread *= GROWTH

    def spoiled_words(self, gate: GateEnvironment, loss: float, seed: int) -> Trial:
        """Vectors as they are, and a w that has lost at least as much as costs ten points."""
        loss *= 1 + FURTHER * random.Random(seed).random()
        while (cost := self.words_cost(loss)) < LEAST_COST:
            loss *= GROWTH
        served = replace(self._served(self.first), relevance=self._without_words(loss))
        return _trial(gate, served, loss, cost)

    def noisy_reader(self, gate: GateEnvironment, spread: float, seed: int) -> Trial:
        """As much noise in the reader alone as costs ten points of F1 with this seed."""
        while True:
            reader = self.readers.noisy(spread, seed)
            cost = self.readers.cost(reader)
            if cost >= LEAST_COST:
                served = replace(self._served(self.first), answers=self.readers.answers(reader))
                return _trial(gate, served, spread, cost, "reader_f1_fall", "reader_p_value")
            spread *= GROWTH

    def equal(self, gate: GateEnvironment, order: int) -> Trial:
        """The same weights, the same texts, other batches: only rounding differs."""
        vectors = self.vectors(self.encoder.top, order)
        self.difference = max(self.difference, float(np.abs(vectors[0] - self.first[0]).max()))
        return _trial(gate, self._served(vectors), 0.0, 0.0)

    def _recall(self, layers: nn.ModuleList, passages: Vectors, relevance: Relevance) -> float:
        """Held-out R@5 by document and f(x, z): questions that are not among the probes, searched
        exactly."""
        index, maker = ExactIndex(passages, self._words), QueryMaker(relevance, self._statistics)
        ids = [each.document_id for each in self.passages]
        vectors = self._upper(self._held_out_states, layers)
        hits = [
            asked.document_id
            in {ids[row] for row in index.search(maker.query(asked.question, own), DEEP).rows}
            for asked, own in zip(self._held_out, vectors, strict=True)
        ]
        return float(np.mean(hits))

    def _passages(self, layers: nn.ModuleList, order: int = 0) -> Vectors:
        return self._upper(self._passage_states, layers, order)

    def _upper(self, states: Sequence[Tensor], layers: nn.ModuleList, order: int = 0) -> Vectors:
        return self.encoder.upper(states, layers, order)


def _trial(
    gate: GateEnvironment,
    served: Served,
    spread: float,
    cost: float,
    fall: str = "probe_recall_fall",
    p_value: str = "probe_p_value",
) -> Trial:
    verdict, report = gate.validate(served)
    return Trial(spread, cost, verdict.passed, report[fall], report[p_value], verdict.why)


def observe(parameters: Parameters, context: Context) -> GateRun:
    set_threads(1)
    began, seed = time.monotonic(), context.seed
    texts = any_dataset(seed)
    if parameters.documents:
        texts = texts.first(parameters.documents)
    count = min(parameters.probes, len(texts.questions) * 3 // 4)
    probes, held_out = texts.questions[:count], texts.questions[count:]
    model = new_model()
    trials = Trials(model, texts, probes, held_out)
    asked = readings_of(trials.passages, probes)[: parameters.readings]
    costed = readings_of(trials.passages, held_out)[-parameters.readings :]
    # By vectors alone: where questions share their words with documents, f loses little by noise.
    trials.judge_by(DENSE_ONLY)
    dense_base = trials.base
    with GateEnvironment(context.folder / "vectors", trials.passages, probes, asked) as gate:
        readers = NoisyReaders(model, costed, gate.questions, TOP_LAYERS)
        gate.go_live(trials.read(readers))
        noisy = _spoiled(
            parameters.trials,
            seed,
            lambda spread: trials.noise_cost(spread, seed),
            FIRST_SPREAD,
            partial(trials.noisy, gate),
        )
        equal = [trials.equal(gate, number + 1) for number in range(parameters.trials)]
    trials.judge_by(model.retriever.relevance)
    with GateEnvironment(context.folder / "f", trials.passages, probes, asked) as gate:
        first = gate.go_live(trials.read(readers))
        words = _spoiled(
            parameters.words,
            seed,
            trials.words_cost,
            FIRST_LOSS,
            partial(trials.spoiled_words, gate),
        )
        misreading = _spoiled(
            parameters.readers,
            seed,
            lambda spread: readers.cost(readers.noisy(spread, seed)),
            FIRST_SPREAD,
            partial(trials.noisy_reader, gate),
        )
    figures = {
        "texts": texts.source,
        "documents": len(texts.documents),
        "passages": len(trials.passages),
        "probes": count,
        "readings": len(asked),
        "held_out_questions": len(held_out),
        "held_out_readings": len(costed),
        "held_out_f1": round(readers.base, 4),
        "held_out_recall@5": round(trials.base, 4),
        "held_out_recall@5_by_vectors": round(dense_base, 4),
        "noise_in_layers_from_the_top": TOP_LAYERS,
        "relevance": asdict(trials.relevance),
        "equal_largest_difference_of_a_coordinate": trials.difference,
        "first_passed": first.passed,
        "seconds": round(time.monotonic() - began, 1),
    }
    return GateRun(noisy, words, misreading, equal, figures)


def _spoiled(
    trials: int,
    seed: int,
    cost: Callable[[float], float],
    first: float,
    trial: Callable[[float, int], Trial],
) -> list[Trial]:
    """Trials of damage that costs about as much as is asked for, each by a seed of its own."""
    spread = calibrated(cost, LEAST_COST, MOST_COST, first) if trials else 0.0
    return [trial(spread, seed * 1000 + number) for number in range(trials)]


def judge(parameters: Parameters, run: GateRun) -> Result:
    trials, readers = parameters.trials, parameters.readers
    claims, figures = [], dict(run.figures)
    if trials:
        passed = sum(each.passed for each in run.equal)
        claims += _refused(run.noisy, trials, "noisy encoders", "R@5", "probe recall")
        claims.append(at_least(f"equal snapshots passed, of {trials}", passed, trials))
        figures |= _figures(run.noisy, "noisy")
    if parameters.words:
        named = "fine encoders with a spoiled w"
        claims += _refused(run.words, parameters.words, named, "R@5", "probe recall")
        figures |= _figures(run.words, "words")
    if readers:
        claims += _refused(run.readers, readers, "fine retrievers with noisy readers", "F1", "F1")
        figures |= _figures(run.readers, "reader")
    return Result(figures, claims)


def _refused(noisy: Sequence[Trial], count: int, named: str, cost: str, why: str) -> list[Claim]:
    """:param why: what each refusal has to name, and nothing beside it."""
    refused = sum(not each.passed and why in each.why and ";" not in each.why for each in noisy)
    least = min(each.cost for each in noisy)
    return [
        at_least(f"least cost of the noise of {named}, in held-out {cost}", least, LEAST_COST),
        at_least(f"{named} refused, of {count}", refused, count),
    ]


def _figures(noisy: Sequence[Trial], name: str) -> dict[str, Any]:
    return {
        f"{name}_spread": _range([each.spread for each in noisy]),
        f"{name}_cost": _range([each.cost for each in noisy]),
        f"{name}_fall_of_probes": _range([each.fall for each in noisy]),
        f"{name}_p_value_max": max(each.p_value for each in noisy),
        f"{name}_refusals": [each.why for each in noisy if not each.passed],
    }


def _range(values: list[float]) -> dict[str, float]:
    return {"min": round(min(values), 4), "max": round(max(values), 4)}


BENCH = Bench(
    description=__doc__ or "",
    full=Parameters(trials=20, words=20, readers=20, probes=1000, readings=200, documents=0),
    quick=Parameters(trials=2, words=2, readers=1, probes=220, readings=60, documents=60),
    observe=observe,
    judge=judge,
    options={
        "trials": "snapshots with noisy encoders, and equal ones",
        "words": "snapshots with a spoiled w",
        "readers": "snapshots with noisy readers",
    },
)

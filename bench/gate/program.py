"""`python -m bench gate`: twenty snapshots whose weights have noise that costs ten points of
held-out R@5 or more, and twenty that are equal but for rounding, through the real gate."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from bench.claims import Claim, Result, at_least
from bench.gate.layers import SplitEncoder
from bench.gate.site import Site
from bench.texts import Asked, Texts, any_texts
from realm.corpus.passages import Passage, split_document
from realm.model.checkpoint import new_model
from realm.model.runtime import set_threads
from realm.records.vectors import Vectors
from realm.search.exact import top_k

TRIALS, QUICK_TRIALS = 20, 3
PROBES, QUICK_PROBES = 1000, 220
QUICK_DOCUMENTS = 60
TOP_LAYERS = 2
LEAST_COST = 0.10
#: No more noise than it takes: a gate that sees only ruins proves nothing.
MOST_COST = 0.16
FIRST_SPREAD = 0.3
GROWTH = 1.12
SEARCHES = 12


@dataclass(frozen=True, slots=True)
class Corpus:
    """States below the top layers: of passages, of probe questions, of held-out questions."""

    passages: list[Passage]
    passage_states: list[Tensor]
    probe_states: list[Tensor]
    held_out: list[Asked]
    held_out_states: list[Tensor]


@dataclass(frozen=True, slots=True)
class Trial:
    """`cost` is how far held-out R@5 fell, `fall` how far the gate saw its probes fall."""

    spread: float
    cost: float
    passed: bool
    fall: float
    p_value: float
    why: str


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trials", type=int, default=TRIALS, help="snapshots of each kind")


def run(options: argparse.Namespace, folder: Path) -> Result:
    """:raises RealmError: if Qdrant does not come up."""
    set_threads(1)
    began = time.monotonic()
    trials = QUICK_TRIALS if options.quick else options.trials
    texts = any_texts(options.seed)
    if options.quick:
        texts = texts.first(QUICK_DOCUMENTS)
    count = min(QUICK_PROBES if options.quick else PROBES, len(texts.questions) * 3 // 4)
    probes, held_out = texts.questions[:count], texts.questions[count:]
    encoder, corpus = _corpus(texts, probes, held_out)
    bench = _Bench(encoder, corpus)
    with Site(folder, corpus.passages, probes) as site:
        first, _ = site.go_live(*bench.vectors(encoder.top, 0))
        spread = bench.calibrate(options.seed)
        noisy = [bench.noisy(site, spread, options.seed * 1000 + n) for n in range(trials)]
        equal = [bench.equal(site, n + 1) for n in range(trials)]
    figures = {
        "texts": texts.source,
        "documents": len(texts.documents),
        "passages": len(corpus.passages),
        "probes": count,
        "held_out_questions": len(held_out),
        "held_out_recall@5": round(bench.base, 4),
        "noise_in_layers_from_the_top": TOP_LAYERS,
        "spread": _range([each.spread for each in noisy]),
        "noisy_cost": _range([each.cost for each in noisy]),
        "noisy_fall_of_probes": _range([each.fall for each in noisy]),
        "noisy_p_value_max": max(each.p_value for each in noisy),
        "equal_largest_difference_of_a_coordinate": bench.difference,
        "first_passed": first.passed,
        "refusals": [each.why for each in noisy if not each.passed],
        "seconds": round(time.monotonic() - began, 1),
    }
    return Result(figures, _claims(trials, noisy, equal))


def _claims(trials: int, noisy: list[Trial], equal: list[Trial]) -> list[Claim]:
    refused = sum(not each.passed and "probe recall" in each.why for each in noisy)
    return [
        at_least(
            "least cost of the noise, in held-out R@5", min(e.cost for e in noisy), LEAST_COST
        ),
        at_least(f"noisy snapshots refused, of {trials}", refused, trials),
        at_least(f"equal snapshots passed, of {trials}", sum(e.passed for e in equal), trials),
    ]


def _corpus(
    texts: Texts, probes: list[Asked], held_out: list[Asked]
) -> tuple[SplitEncoder, Corpus]:
    model = new_model()
    inputs = model.inputs
    encoder = SplitEncoder(model.retriever.passage, inputs.pad, TOP_LAYERS)
    passages = [each for d in texts.documents for each in split_document(d, 1, inputs)]
    corpus = Corpus(
        passages,
        encoder.lower([inputs.passage(each.title_ids, each.body_ids) for each in passages]),
        encoder.lower([inputs.query(each.question) for each in probes]),
        held_out,
        encoder.lower([inputs.query(each.question) for each in held_out]),
    )
    return encoder, corpus


class _Bench:
    """Makes snapshots of the base's top layers and asks what they cost and what the gate says."""

    def __init__(self, encoder: SplitEncoder, corpus: Corpus) -> None:
        self._encoder = encoder
        self._corpus = corpus
        self._first = encoder.upper(corpus.passage_states, encoder.top, 0)
        self.base = self._recall(encoder.top, self._first)
        self.difference = 0.0

    def vectors(self, layers: nn.ModuleList, order: int) -> tuple[Vectors, Vectors]:
        """Of the passages and of the probes, [rows, size] each."""
        return (
            self._encoder.upper(self._corpus.passage_states, layers, order),
            self._encoder.upper(self._corpus.probe_states, layers, order),
        )

    def calibrate(self, seed: int) -> float:
        """The noise that costs little more than ten points, by bisection with one seed."""
        low, high = 0.0, FIRST_SPREAD
        for _ in range(SEARCHES):
            middle = (low + high) / 2 if low else high
            cost = self._cost(self._encoder.noisy(middle, seed))
            if LEAST_COST <= cost <= MOST_COST:
                return middle
            if cost < LEAST_COST:
                low, high = middle, high if high > middle else 2 * high
            else:
                low, high = low or middle / 4, middle
        return high

    def noisy(self, site: Site, spread: float, seed: int) -> Trial:
        """As much noise as costs ten points with this seed."""
        while True:
            layers = self._encoder.noisy(spread, seed)
            vectors = self.vectors(layers, order=0)
            cost = self.base - self._recall(layers, vectors[0])
            if cost >= LEAST_COST:
                return self._trial(site, vectors, spread, cost)
            spread *= GROWTH

    def equal(self, site: Site, order: int) -> Trial:
        """The same weights, the same texts, other batches: only rounding differs."""
        vectors = self.vectors(self._encoder.top, order)
        self.difference = max(self.difference, float(np.abs(vectors[0] - self._first).max()))
        return self._trial(site, vectors, 0.0, 0.0)

    def _trial(
        self, site: Site, vectors: tuple[Vectors, Vectors], spread: float, cost: float
    ) -> Trial:
        verdict, report = site.look(*vectors)
        fall, p_value = report["probe_recall_fall"], report["probe_p_value"]
        return Trial(spread, cost, verdict.passed, fall, p_value, verdict.why)

    def _cost(self, layers: nn.ModuleList) -> float:
        passages = self._encoder.upper(self._corpus.passage_states, layers, 0)
        return self.base - self._recall(layers, passages)

    def _recall(self, layers: nn.ModuleList, passages: Vectors) -> float:
        """Held-out R@5 by document: questions that are not among the probes, searched exactly."""
        queries = self._encoder.upper(self._corpus.held_out_states, layers, 0)
        rows, _ = top_k(queries, passages, 5)
        ids = [each.document_id for each in self._corpus.passages]
        hits = [
            asked.document_id in {ids[row] for row in found}
            for asked, found in zip(self._corpus.held_out, rows, strict=True)
        ]
        return float(np.mean(hits))


def _range(values: list[float]) -> dict[str, float]:
    named: dict[str, Callable[[list[float]], float]] = {"min": min, "max": max}
    return {name: round(pick(values), 4) for name, pick in named.items()}

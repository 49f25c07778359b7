"""What the checks find, and what follows from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from realm.corpus.passages import Passage
from realm.records.weighing import Weighing
from realm.search.bm25 import SparseVector, passage_weights
from realm.settings import load_settings
from services.indexer.build.lifecycle import Verdict
from services.indexer.gate.checks import (
    CHECKS,
    CollectionSample,
    Evidence,
    Finding,
    Readings,
    norms_fault,
    recall_of_scores,
)
from services.indexer.gate.content import ExpectedContent
from services.indexer.gate.gate import Gate
from services.indexer.gate.readings import Reading
from services.indexer.metrics import IndexerMetrics
from tests.unit.indexer.examples import generation


def vector(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_content_is_shards_and_deltas_in_order() -> None:
    content = ExpectedContent()
    for ordinal in range(3):
        content.put(f"a{ordinal}", "a", 1, vector(ordinal, 0))
    content.put("b0", "b", 1, vector(9, 9))
    content.put("a0", "a", 4, vector(7, 7))
    content.delete_older("a", 4)
    assert set(content.vectors) == {"a0", "b0"}
    assert content.vectors["a0"].tolist() == [7, 7]
    content.delete_older("b", 5)
    content.delete_older("never-there", 5)
    assert set(content.vectors) == {"a0"}
    content.put("b0", "b", 6, vector(1, 1))
    content.delete_older("b", 6)
    assert set(content.vectors) == {"a0", "b0"}


def test_content_knows_the_words_of_what_is_there() -> None:
    passages = [tiny_passage(0, [7, 3], [2, 1]), tiny_passage(1, [], [])]
    content = ExpectedContent()
    content._put(passages, np.ones((2, 2), np.float32))
    weighing = Weighing(4.0, k1=0.5)
    expected = passage_weights([3, 7], [1, 2], weighing)
    assert content.weights("p0", weighing).close_to(expected, 1e-6)
    assert not content.weights("p0", Weighing(2.0, k1=0.5)).close_to(expected, 1e-6)
    assert not content.weights("p0", Weighing(4.0, k1=1.2)).close_to(expected, 1e-6)
    assert content.weights("p1", weighing) == SparseVector([], [])
    content.delete_older("a", 2)
    assert not content.terms


def tiny_passage(ordinal: int, terms: list[int], counts: list[int]) -> Passage:
    return Passage(
        f"p{ordinal}", "a", 1, ordinal, 0, 1, "", "x", [], [], "", terms=terms, term_counts=counts
    )


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1, 0], [0, 1]], ""),
        ([[1, 0], [np.nan, 1]], "not finite"),
        ([[1, 0], [np.inf, 1]], "not finite"),
        ([[1, 0], [0, 0]], "length zero"),
        ([[1, 0]] * 3 + [[500, 0]], "times as long"),
    ],
)
def test_lengths_are_sane(rows: list[list[float]], words: str) -> None:
    fault = norms_fault(np.array(rows, dtype=np.float32))
    assert words in fault
    assert bool(fault) == bool(words)


def test_recall_counts_passages_as_good_as_the_exact_best() -> None:
    exact = [np.array([3.0, 2.0, 1.0], dtype=np.float32)]
    assert recall_of_scores([[3.0, 2.0, 1.0]], exact) == 1.0
    assert recall_of_scores([[3.0, 1.0, 1.0]], exact) == 1.0
    assert recall_of_scores([[3.0, 0.5, 0.4]], exact) == pytest.approx(1 / 3)
    assert recall_of_scores([[]], exact) == 0.0


def evidence(points: int = 1, forced: str = "", **settings: object) -> Evidence:
    """A candidate of one passage, with so many points in its collection."""
    content = ExpectedContent()
    content.put("a0", "a", 1, vector(1, 0))
    sample = CollectionSample(points, {"a0": vector(1, 0)}, {}, [], [])
    candidate = replace(generation(1), forced=forced)
    return Evidence(load_settings(**settings).gate, candidate, content, sample)


def reader(right: int, questions: int = 100) -> Reading:
    scores = [1.0] * right + [0.0] * (questions - right)
    return Reading(tuple(map(bool, scores)), tuple(scores))


def test_a_reader_that_answers_worse_is_refused_whatever_is_found(metrics: IndexerMetrics) -> None:
    found = replace(evidence(gate_sample=1), readings=Readings(reader(60), reader(80), reader(60)))
    verdict, report = judge(metrics, found)
    why = "the reader's F1 fell from 0.800 (live) to 0.600 (p = 0.0000)"
    assert verdict == Verdict(False, why)
    assert metrics.validation_failures.labels("reading")._value.get() == 1
    assert report["reader_em"] == report["reader_f1"] == 0.6
    assert report["reader_f1_fall"] == pytest.approx(0.2)
    assert report["best_reader_f1_fall"] == 0.0
    forced = replace(found, candidate=replace(found.candidate, forced="root: it must be"))
    assert judge(metrics, forced)[0] == Verdict(True), "an operator may want it all the same"


def test_small_losses_of_a_reader_do_not_add_up_unseen(metrics: IndexerMetrics) -> None:
    found = replace(evidence(gate_sample=1), readings=Readings(reader(72), reader(73), reader(80)))
    verdict, _ = judge(metrics, found)
    assert verdict == Verdict(False, "the reader's F1 fell from 0.800 (best) to 0.720 (p = 0.0039)")


@pytest.mark.parametrize("live", [reader(79), None])
def test_an_equal_reader_and_a_first_one_pass(
    live: Reading | None, metrics: IndexerMetrics
) -> None:
    found = replace(evidence(gate_sample=1), readings=Readings(reader(79), live))
    verdict, report = judge(metrics, found)
    assert verdict == Verdict(True)
    assert report["readings"] == 100
    assert ("live_reader_f1" in report) == (live is not None)


def judge(metrics: IndexerMetrics, found: Evidence) -> tuple[Verdict, dict[str, float]]:
    gate = Gate(None, None, None, found.settings, None, metrics)  # type: ignore[arg-type]
    return gate.judge(found)


def test_figures_of_all_checks_are_one_report(metrics: IndexerMetrics) -> None:
    verdict, report = judge(metrics, evidence(gate_sample=1))
    assert verdict == Verdict(True)
    assert report == {
        "count": 1, "expected_count": 1, "sampled": 1, "sample_mismatches": 0, "recall@10": 1.0,
    }  # fmt: skip


def test_no_operator_overrules_a_collection_that_is_not_its_files(metrics: IndexerMetrics) -> None:
    verdict, _ = judge(metrics, evidence(points=3, forced="root: it must be", gate_sample=1))
    why = "the collection has 3 points, the files 1"
    assert verdict == Verdict(False, why, retry=True)
    refused = metrics.validation_failures.labels("count")
    assert refused._value.get() == 1


@pytest.mark.parametrize("forced", ["", "root: it must be"])
def test_an_operator_overrules_a_check_of_quality(
    metrics: IndexerMetrics, monkeypatch: pytest.MonkeyPatch, forced: str
) -> None:
    worse = Finding({"probe_recall@5": 0.1}, "it finds less")
    monkeypatch.setitem(CHECKS, "probes", lambda evidence: worse)
    verdict, report = judge(metrics, evidence(forced=forced, gate_sample=1))
    assert verdict == (Verdict(True) if forced else Verdict(False, "it finds less"))
    assert report.get("forced") == (1.0 if forced else None)


def test_every_check_has_its_metric_from_the_start(metrics: IndexerMetrics) -> None:
    (family,) = metrics.validation_failures.collect()
    assert {each.labels["check"] for each in family.samples} == set(CHECKS)

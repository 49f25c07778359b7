"""The gate's checks. Each is one function here; its name is the label of
`realm_indexer_validation_failures_total`, its figures are what the report, the gauge
`realm_indexer_gate_result` and `realm generations show` name.

A check gets the evidence that the gate has gathered and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from realm.records.baselines import PROBE_RECALL, READER_F1
from realm.records.generation import Generation
from realm.records.recorded_questions import PROBES_RECORDED
from realm.records.vectors import Vectors
from realm.search.bm25 import SparseVector
from realm.search.vector_index import Hit, Query
from realm.settings.groups import Gate as GateSettings
from services.indexer.gate.content import ExpectedContent
from services.indexer.gate.latency import LatencyComparison
from services.indexer.gate.probes import Probes, compare, mean_reciprocal_rank, recall_at
from services.indexer.gate.readings import Reading, compare_readings
from services.indexer.gate.shadow import Agreement

RECALL_DEPTH = 10
#: float32 survives Qdrant bit by bit; other storages may round.
SAMPLE_TOLERANCE = 1e-4
LEAST_NORM = 1e-6
NORM_SPREAD = 100.0

Ranks = Sequence[int | None]


@dataclass(frozen=True, slots=True)
class CollectionSample:
    """What the candidate's collection answered while no write was applied."""

    count: int
    vectors: Mapping[str, Vectors]
    weights: Mapping[str, SparseVector]
    queries: Sequence[Query]
    hits: Sequence[Sequence[Hit]]


@dataclass(frozen=True, slots=True)
class ProbeRanks:
    """Ranks of the probe questions' passages in the candidate, and in what it is compared with
    (None: there is nothing to compare with); `searched`: how far both agree on users' searches."""

    probes: Probes
    candidate: Ranks
    baseline: Ranks | None = None
    generation: int = 0
    seconds: float = 0.0
    searched: Agreement | None = None


@dataclass(frozen=True, slots=True)
class Readings:
    """What readers score in the same questions: the candidate's, live's, and that of the best
    accepted lately (None: there is nothing to compare with)."""

    candidate: Reading
    live: Reading | None = None
    best: Reading | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """`live` ranks come from both collections, `best` ranks from the files of both generations.
    What is None was not measured: there are no probes, or nothing is live."""

    settings: GateSettings
    candidate: Generation
    content: ExpectedContent
    collection: CollectionSample
    live: ProbeRanks | None = None
    best: ProbeRanks | None = None
    latency: LatencyComparison | None = None
    readings: Readings | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's figures, and what is wrong; empty if nothing is."""

    figures: Mapping[str, float] = field(default_factory=dict)
    fault: str = ""


Check = Callable[[Evidence], Finding]

CHECKS: dict[str, Check] = {}
#: Checks of quality: an operator may overrule them. The others find that a collection is not what
#: its files say, which no operator may overrule and which does not tell against the snapshot.
OVERRULABLE: set[str] = set()


def check(*, overrulable: bool = False) -> Callable[[Check], Check]:
    """Registers a check under its function's name; checks run in the order of this file."""

    def register(function: Check) -> Check:
        name = function.__name__
        CHECKS[name] = function
        if overrulable:
            OVERRULABLE.add(name)
        return function

    return register


@check()
def count(evidence: Evidence) -> Finding:
    found, expected = evidence.collection.count, len(evidence.content.vectors)
    fault = f"the collection has {found} points, the files {expected}" if found != expected else ""
    return Finding({"count": found, "expected_count": expected}, fault)


@check()
def sample(evidence: Evidence) -> Finding:
    """Sampled vectors and BM25 weights are those of the files."""
    content, collection = evidence.content, evidence.collection
    weighing = evidence.candidate.weighing
    wrong = sum(
        not np.allclose(vector, content.vectors[each], atol=SAMPLE_TOLERANCE)
        for each, vector in collection.vectors.items()
    )
    wrong += sum(
        not weights.close_to(content.weights(each, weighing), SAMPLE_TOLERANCE)
        for each, weights in collection.weights.items()
    )
    wrong += min(evidence.settings.sample, len(content.vectors)) - len(collection.vectors)
    fault = f"{wrong} sampled vectors are not those of the files" if wrong else ""
    return Finding({"sampled": len(collection.vectors), "sample_mismatches": wrong}, fault)


@check()
def norms(evidence: Evidence) -> Finding:
    return Finding(fault=norms_fault(_all_vectors(evidence)))


@check(overrulable=True)
def recall(evidence: Evidence) -> Finding:
    """Recall of the collection against exact search over the same vectors, or words."""
    queries, hits = evidence.collection.queries, evidence.collection.hits
    share = 1.0
    if queries:
        weighing, words = evidence.candidate.weighing, evidence.candidate.words_alone
        exact = evidence.content.best_scores(queries, weighing, RECALL_DEPTH)
        found = [[hit.words if words else hit.product for hit in each] for each in hits]
        share = recall_of_scores(found, exact)
    fault = ""
    if share < evidence.settings.min_recall:
        fault = (
            f"recall@{RECALL_DEPTH} against exact search is {share:.3f},"
            f" below {evidence.settings.min_recall}"
        )
    return Finding({f"recall@{RECALL_DEPTH}": share}, fault)


@check(overrulable=True)
def probes(evidence: Evidence) -> Finding:
    """The probe questions find their passages, and no worse than with live."""
    if (ranks := evidence.live) is None:
        return Finding()
    figures: dict[str, float] = {"probes": len(ranks.probes)}
    if not len(ranks.probes):
        return Finding(figures)
    figures |= {
        "probe_recall@1": recall_at(ranks.candidate, 1),
        PROBE_RECALL: recall_at(ranks.candidate, 5),
        "probe_mrr": mean_reciprocal_rank(ranks.candidate),
        "probe_search_seconds": ranks.seconds,
    }
    if ranks.probes.recorded:
        figures[PROBES_RECORDED] = ranks.probes.recorded
    return _compared(evidence.settings, ranks, "live", figures, prefix="")


@check(overrulable=True)
def best(evidence: Evidence) -> Finding:
    """No worse than the best accepted lately, over the documents that are the same in both."""
    if (ranks := evidence.best) is None:
        return Finding()
    figures = {"best_generation": float(ranks.generation), "best_probes": float(len(ranks.probes))}
    return _compared(evidence.settings, ranks, "best", figures, prefix="best_")


@check(overrulable=True)
def reading(evidence: Evidence) -> Finding:
    """The reader answers questions of known answers no worse than live's, and than the best's."""
    if (found := evidence.readings) is None:
        return Finding()
    mine, settings = found.candidate, evidence.settings
    figures: dict[str, float] = {
        "readings": len(mine.f1), "reader_em": mine.em, READER_F1: mine.mean_f1
    }  # fmt: skip
    faults = []
    for name, prefix, theirs in (("live", "", found.live), ("best", "best_", found.best)):
        if theirs is None:
            continue
        compared = compare_readings(mine, theirs)
        figures |= {
            f"{name}_reader_em": theirs.em,
            f"{name}_{READER_F1}": theirs.mean_f1,
            f"{prefix}reader_f1_fall": compared.fall,
            f"{prefix}reader_p_value": compared.p_value,
        }
        if compared.refused(settings.tolerance, settings.significance):
            faults.append(
                f"the reader's F1 fell from {theirs.mean_f1:.3f} ({name}) to {mine.mean_f1:.3f}"
                f" (p = {compared.p_value:.4f})"
            )
    return Finding(figures, "; ".join(faults))


@check(overrulable=True)
def latency(evidence: Evidence) -> Finding:
    """A search takes no longer than with live."""
    if (found := evidence.latency) is None:
        return Finding()
    figures = {
        "search_seconds": found.candidate,
        "live_search_seconds": found.live,
        "search_slower": float(found.slower),
        "search_pairs": float(found.pairs),
    }
    fault = ""
    if found.refused:
        fault = (
            f"a search takes {found.candidate * 1000:.1f} ms, with live"
            f" {found.live * 1000:.1f} ms: over {evidence.settings.latency_factor:g} times as long"
            f" in {found.slower} of {found.pairs} pairs (p = {found.p_value:.4f})"
        )
    return Finding(figures, fault)


@check(overrulable=True)
def shadow(evidence: Evidence) -> Finding:
    """How far users' searches are answered as by live; reported, and no reason to refuse."""
    if evidence.live is None or (found := evidence.live.searched) is None:
        return Finding()
    return Finding(
        {
            "shadow_searches": float(found.searches),
            f"shadow_overlap@{RECALL_DEPTH}": found.overlap,
            "shadow_same_first": found.same_first,
            "shadow_score": found.score,
            "live_shadow_score": found.live_score,
            "shadow_search_seconds": found.seconds,
            "live_shadow_search_seconds": found.live_seconds,
        }
    )


def _compared(
    settings: GateSettings, ranks: ProbeRanks, name: str, figures: dict[str, float], prefix: str
) -> Finding:
    """Paired over the same questions at one corpus version."""
    if ranks.baseline is None:
        return Finding(figures)
    found = compare(ranks.candidate, ranks.baseline)
    mine, theirs = recall_at(ranks.candidate, 5), recall_at(ranks.baseline, 5)
    figures |= {
        f"{name}_{PROBE_RECALL}": theirs,
        f"{prefix}probe_recall_fall": found.fall,
        f"{prefix}probe_p_value": found.p_value,
    }
    fault = ""
    if found.refused(settings.tolerance, settings.significance):
        fault = (
            f"probe recall@5 fell from {theirs:.3f} ({name}) to {mine:.3f}"
            f" (p = {found.p_value:.4f})"
        )
    return Finding(figures, fault)


def _all_vectors(evidence: Evidence) -> Vectors:
    return np.array(list(evidence.content.vectors.values()), dtype=np.float32)


def norms_fault(vectors: Vectors) -> str:
    """What is wrong with the lengths of vectors [n, size]; empty if nothing is."""
    if not vectors.size:
        return ""
    if not np.isfinite(vectors).all():
        return "a vector is not finite"
    lengths = np.linalg.norm(vectors, axis=1)
    if lengths.min() < LEAST_NORM:
        return "a vector has length zero"
    if lengths.max() > NORM_SPREAD * float(np.median(lengths)):
        return f"a vector is more than {NORM_SPREAD:.0f} times as long as the median"
    return ""


def recall_of_scores(found: Sequence[Sequence[float]], exact: Sequence[Vectors]) -> float:
    """The mean share of the k exact best that were found; passages of equal score are as good.

    :param exact: the k best scores of each query [≤ k], best first; those without any do not count.
    """
    shares = []
    for scores, top in zip(found, exact, strict=True):
        if not len(top):
            continue
        threshold = top[-1] - 1e-5 * max(1.0, abs(float(top[-1])))
        shares.append(min(len(top), sum(score >= threshold for score in scores)) / len(top))
    return float(np.mean(shares)) if shares else 1.0

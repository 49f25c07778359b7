"""The gate: a generation is compared with its files, with live and with the best accepted lately
before it may go live.

Checks, by their names in metrics: count, sample, norms, recall, probes, best, latency.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import structlog

from realm.errors import Corrupt, NotFound
from realm.records.baselines import PROBE_RECALL, GateBaselines
from realm.records.generations import Generation
from realm.records.recorded_questions import PROBES_RECORDED
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.search.bm25 import SparseVector
from realm.search.exact import top_k
from realm.search.vector_index import Hit, VectorIndex
from realm.settings import Settings
from services.indexer.build.lifecycle import Verdict
from services.indexer.gate.content import ExpectedContent
from services.indexer.gate.latency import measure
from services.indexer.gate.probes import (
    Comparison,
    Probes,
    alike,
    compare,
    mean_reciprocal_rank,
    probes_file,
    ranks,
    read_probes,
    recall_at,
)
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.replication import ReplicationState

RECALL_DEPTH = 10
RECALL_QUERIES = 100
#: float32 survives Qdrant bit by bit; other storages may round.
SAMPLE_TOLERANCE = 1e-4
LEAST_NORM = 1e-6
NORM_SPREAD = 100.0
#: Under steady writes candidate and live are seldom at one corpus version: wait so long for it.
ONE_VERSION_SECONDS = 2.0
#: What an operator may overrule: a worse index, never one that is not what its files say. Of the
#: others the snapshot has no fault: it is tried again.
QUALITY = frozenset({"recall", "probes", "best", "latency"})

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Look:
    """What the collection said while the writes stood still."""

    count: int
    sample: dict[str, Vectors]
    weights: dict[str, SparseVector]
    queries: Vectors
    hits: list[list[Hit]]


class Gate:
    """Compares; changes nothing."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        index: VectorIndex,
        replication: ReplicationState,
        settings: Settings,
        metrics: IndexerMetrics,
        references: GateBaselines,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._index = index
        self._replication = replication
        self._settings = settings
        self._metrics = metrics
        self._references = references

    def look(
        self, generation: Generation, live: Generation | None, live_is_whole: bool = True
    ) -> tuple[Verdict, dict[str, float]]:
        """Verdict and report; `live` is None for the first generation. A live one that is damaged
        is compared with by its files, and not at all with what is of the same snapshot.

        :raises NotFound, Corrupt: if a file is gone or damaged by now.
        :raises Conflict: if a rollback came in between.
        """
        content = ExpectedContent()
        content.put_shards(self._store, self._snapshots, generation)
        rng = random.Random(generation.number)
        with self._replication.frozen(generation.number):
            steps = self._replication.steps(generation.number)
            content.put_steps(self._store, generation, steps)
            looked = self._collection(generation, content, rng)
        faults: dict[str, str] = {}
        report = self._against_files(content, generation.average_terms, looked, faults)
        if self._settings.gate.probes and not generation.heals:
            whole = live if live_is_whole else None
            report |= self._probes(generation, whole, live, content, faults)
        return self._verdict(generation, faults, report), report

    def _verdict(
        self, generation: Generation, faults: dict[str, str], report: dict[str, float]
    ) -> Verdict:
        for figure, value in report.items():
            self._metrics.gate_result.labels(figure).set(value)
        for check, fault in faults.items():
            self._metrics.validation_failures.labels(check).inc()
            log.error("gate_refuses", generation=generation.number, check=check, why=fault)
        if generation.forced and not set(faults) - QUALITY:
            report["forced"] = float(len(faults))
            log.warning("gate_overruled", generation=generation.number, by=generation.forced)
            return Verdict(True)
        again = bool(set(faults) - QUALITY)
        return Verdict(not faults, "; ".join(faults.values()), again)

    def _collection(
        self, generation: Generation, content: ExpectedContent, rng: random.Random
    ) -> _Look:
        """All that is asked while no write is applied; a fraction of a second."""
        ids = sorted(content.vectors)
        sample = rng.sample(ids, min(self._settings.gate.sample, len(ids)))
        asked = rng.sample(ids, min(RECALL_QUERIES, len(ids)))
        queries = np.array([content.vectors[each] for each in asked], dtype=np.float32).reshape(
            -1, generation.vector_size
        )
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), 32):
            self._replication.check_frozen(generation.number)
            hits += self._index.search(
                generation.collection, queries[start : start + 32], RECALL_DEPTH
            )
        return _Look(
            self._index.count(generation.collection),
            self._index.vectors(generation.collection, sample) if sample else {},
            self._index.weights(generation.collection, sample) if sample else {},
            queries,
            hits,
        )

    def _against_files(
        self,
        content: ExpectedContent,
        average_terms: float,
        looked: _Look,
        faults: dict[str, str],
    ) -> dict[str, float]:
        expected = len(content.vectors)
        if looked.count != expected:
            faults["count"] = f"the collection has {looked.count} points, the files {expected}"
        wrong = sum(
            not np.allclose(vector, content.vectors[each], atol=SAMPLE_TOLERANCE)
            for each, vector in looked.sample.items()
        )
        wrong += sum(
            not weights.close_to(content.weights(each, average_terms), SAMPLE_TOLERANCE)
            for each, weights in looked.weights.items()
        )
        wrong += min(self._settings.gate.sample, expected) - len(looked.sample)
        if wrong:
            faults["sample"] = f"{wrong} sampled vectors are not those of the files"
        everything = np.array(list(content.vectors.values()), dtype=np.float32)
        if fault := norms_fault(everything):
            faults["norms"] = fault
        recall = self._recall(everything, looked)
        if recall < self._settings.gate.min_recall:
            faults["recall"] = (
                f"recall@{RECALL_DEPTH} against exact search is {recall:.3f},"
                f" below {self._settings.gate.min_recall}"
            )
        return {
            "count": looked.count,
            "expected_count": expected,
            "sampled": len(looked.sample),
            "sample_mismatches": wrong,
            f"recall@{RECALL_DEPTH}": recall,
        }

    def _recall(self, everything: Vectors, looked: _Look) -> float:
        if not len(looked.queries):
            return 1.0
        _, scores = top_k(looked.queries, everything, RECALL_DEPTH)
        return recall_of_scores([[hit.score for hit in hits] for hits in looked.hits], scores)

    def _probes(
        self,
        generation: Generation,
        live: Generation | None,
        before: Generation | None,
        content: ExpectedContent,
        faults: dict[str, str],
    ) -> dict[str, float]:
        """:param live: as far as its collection may be searched, and `before` in any case."""
        own = read_probes(self._store, probes_file(generation, generation))
        if not len(own):
            return {"probes": 0}
        theirs: list[int | None] = []
        if live is not None:
            own, probes = alike(own, read_probes(self._store, probes_file(generation, live)))
        with self._one_version(generation, live):
            began = time.monotonic()
            by = own.by(generation, live)
            mine = ranks(self._index, generation.collection, own, by)
            seconds = time.monotonic() - began
            if live is not None:
                theirs = ranks(self._index, live.collection, probes, by)
        report = {
            "probes": float(len(own)),
            "probe_recall@1": recall_at(mine, 1),
            PROBE_RECALL: recall_at(mine, 5),
            "probe_mrr": mean_reciprocal_rank(mine),
            "probe_search_seconds": seconds,
        }
        if own.recorded:
            report[PROBES_RECORDED] = float(own.recorded)
        if live is not None:
            report |= self._compared("probes", "live", mine, theirs, faults)
            best = self._references.best(generation, live)
            report |= self._against_files_of(best, generation, own, content, faults)
            report |= self._latency((generation, own), (live, probes), faults)
        else:
            report |= self._against_files_of(before, generation, own, content, faults)
        return report

    def _latency(
        self,
        candidate: tuple[Generation, Probes],
        live: tuple[Generation, Probes],
        faults: dict[str, str],
    ) -> dict[str, float]:
        """A burst of the same questions to both; writes go on meanwhile."""
        factor = self._settings.gate.latency_factor
        if not factor:
            return {}
        mine, theirs = ((each.collection, probes.vectors) for each, probes in (candidate, live))
        found = measure(self._index.search, mine, theirs, factor)
        if found.refused:
            faults["latency"] = (
                f"a search takes {found.candidate * 1000:.1f} ms, with live"
                f" {found.live * 1000:.1f} ms: over {factor:g} times as long in {found.slower} of"
                f" {found.pairs} pairs (p = {found.p_value:.4f})"
            )
        return {
            "search_seconds": found.candidate,
            "live_search_seconds": found.live,
            "search_slower": float(found.slower),
            "search_pairs": float(found.pairs),
        }

    def _against_files_of(
        self,
        best: Generation | None,
        generation: Generation,
        own: Probes,
        content: ExpectedContent,
        faults: dict[str, str],
    ) -> dict[str, float]:
        """The best accepted lately may have no collection any more: both are searched exactly, from
        their files, over the documents that have not changed between the two."""
        if best is None:
            return {}
        old = ExpectedContent()
        try:
            old.put_shards(self._store, self._snapshots, best)
            probes = read_probes(self._store, probes_file(generation, best))
        except (NotFound, Corrupt) as error:
            log.warning("best_is_not_compared", best=best.number, why=str(error))
            return {}
        common = set(content.documents.values()) & set(old.documents.values())
        names = {document_id for document_id, _ in common}
        own, probes = alike(own.about(names), probes.about(names))
        if not len(own):
            return {}
        by = own.by(generation, best)
        mine = content.ranks(own, by, common)
        theirs = old.ranks(probes, by, common)
        report = {"best_generation": float(best.number), "best_probes": float(len(own))}
        return report | self._compared("best", "best", mine, theirs, faults)

    def _compared(
        self,
        check: str,
        name: str,
        mine: Sequence[int | None],
        theirs: Sequence[int | None],
        faults: dict[str, str],
    ) -> dict[str, float]:
        """Paired over the same questions at one corpus version."""
        found: Comparison = compare(mine, theirs)
        if found.refused(self._settings.gate.tolerance, self._settings.gate.significance):
            faults[check] = (
                f"probe recall@5 fell from {recall_at(theirs, 5):.3f} ({name}) to"
                f" {recall_at(mine, 5):.3f} (p = {found.p_value:.4f})"
            )
        prefix = "" if name == "live" else f"{name}_"
        return {
            f"{name}_{PROBE_RECALL}": recall_at(theirs, 5),
            f"{prefix}probe_recall_fall": found.fall,
            f"{prefix}probe_p_value": found.p_value,
        }

    @contextmanager
    def _one_version(self, generation: Generation, live: Generation | None) -> Iterator[None]:
        """While both collections hold the same writes, and no more are applied."""
        deadline = time.monotonic() + ONE_VERSION_SECONDS
        with ExitStack() as standing:
            with self._replication.lock:
                while live is not None and (left := deadline - time.monotonic()) > 0:
                    mine = self._replication.applied(generation.number)
                    if mine == self._replication.applied(live.number):
                        break
                    self._replication.changed.wait(left)
                standing.enter_context(self._replication.frozen(generation.number))
            yield


def norms_fault(vectors: Vectors) -> str:
    """What is wrong with the lengths of vectors [n, size]; empty if nothing is."""
    if not len(vectors):
        return ""
    if not np.isfinite(vectors).all():
        return "a vector is not finite"
    norms = np.linalg.norm(vectors, axis=1)
    if norms.min() < LEAST_NORM:
        return "a vector has length zero"
    if norms.max() > NORM_SPREAD * float(np.median(norms)):
        return f"a vector is more than {NORM_SPREAD:.0f} times as long as the median"
    return ""


def recall_of_scores(found: Sequence[Sequence[float]], exact: Vectors) -> float:
    """The mean share of the k exact best that were found; passages of equal score are as good.

    :param exact: the k best scores [queries, k], best first.
    """
    shares = []
    for scores, best in zip(found, exact, strict=True):
        threshold = best[-1] - 1e-5 * max(1.0, abs(float(best[-1])))
        shares.append(min(len(best), sum(score >= threshold for score in scores)) / len(best))
    return float(np.mean(shares)) if shares else 1.0

"""The gate: a generation is compared with its files and with live before it may go live.

Checks, by their names in metrics: count, sample, norms, recall, probes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from realm import arrow
from realm.corpus.changes import changes_file, read_changes
from realm.corpus.passages import from_table
from realm.generations import Generation
from realm.search.exact import top_k
from realm.search.qdrant import Hit, PassageIndex
from realm.settings import Settings
from realm.snapshots import Snapshots
from realm.store import Store
from realm.vectors import Vectors, read_vectors, vector_file
from services.indexer.following import Following
from services.indexer.lifecycle import Verdict
from services.indexer.loader import paired
from services.indexer.metrics import IndexerMetrics
from services.indexer.probes import (
    compare,
    mean_reciprocal_rank,
    probes_file,
    ranks,
    read_probes,
    recall_at,
)

RECALL_DEPTH = 10
RECALL_QUERIES = 100
#: float32 survives Qdrant bit by bit; other storages may round.
SAMPLE_TOLERANCE = 1e-4
LEAST_NORM = 1e-6
NORM_SPREAD = 100.0

log = structlog.get_logger(__name__)


class ExpectedContent:
    """What a collection should hold: shards ⊕ deltas, by passage id."""

    def __init__(self) -> None:
        self.vectors: dict[str, Vectors] = {}
        self._versions: dict[str, int] = {}
        self._of_document: dict[str, set[str]] = {}

    def put(self, passage_id: str, document_id: str, version: int, vector: Vectors) -> None:
        self.vectors[passage_id] = vector
        self._versions[passage_id] = version
        self._of_document.setdefault(document_id, set()).add(passage_id)

    def delete_older(self, document_id: str, version: int) -> None:
        passages = self._of_document.get(document_id, set())
        for passage_id in [each for each in passages if self._versions[each] < version]:
            passages.remove(passage_id)
            del self.vectors[passage_id], self._versions[passage_id]


@dataclass(frozen=True, slots=True)
class _Look:
    """What the collection said while the writes stood still."""

    count: int
    sample: dict[str, Vectors]
    queries: Vectors
    hits: list[list[Hit]]


class Gate:
    """Compares; changes nothing."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        index: PassageIndex,
        following: Following,
        settings: Settings,
        metrics: IndexerMetrics,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._index = index
        self._following = following
        self._settings = settings
        self._metrics = metrics

    def look(
        self, generation: Generation, live: Generation | None
    ) -> tuple[Verdict, dict[str, float]]:
        """Verdict and report; `live` is None for the first generation.

        :raises NotFound, Corrupt: if a file is gone or damaged by now.
        """
        content = self._shards(generation)
        rng = random.Random(generation.number)
        with self._following.lock:
            self._deltas(generation, content)
            looked = self._collection(generation, content, rng)
        faults: dict[str, str] = {}
        report = self._against_files(content, looked, faults)
        if self._settings.gate_probes:
            report |= self._probes(generation, live, faults)
        for figure, value in report.items():
            self._metrics.gate_result.labels(figure).set(value)
        for check, fault in faults.items():
            self._metrics.validation_failures.labels(check).inc()
            log.error("gate_refuses", generation=generation.number, check=check, why=fault)
        return Verdict(not faults, "; ".join(faults.values())), report

    def _shards(self, generation: Generation) -> ExpectedContent:
        content = ExpectedContent()
        snapshot = self._snapshots.get(generation.snapshot)
        for path in generation.passage_files:
            passages = from_table(arrow.read_table(self._store, path))
            output = vector_file(snapshot.name, path)
            vectors = paired(passages, read_vectors(self._store, output), output)
            for passage, vector in zip(passages, vectors, strict=True):
                content.put(
                    passage.passage_id, passage.document_id, passage.document_version, vector
                )
        return content

    def _deltas(self, generation: Generation, content: ExpectedContent) -> None:
        for after, upto in self._following.steps(generation.number):
            source = changes_file(generation.fingerprint, after, upto)
            changes = read_changes(self._store, source)
            delta = generation.delta_file(after, upto)
            vectors = paired(changes.passages, read_vectors(self._store, delta), delta)
            for passage, vector in zip(changes.passages, vectors, strict=True):
                content.put(
                    passage.passage_id, passage.document_id, passage.document_version, vector
                )
            for document in changes.documents:
                content.delete_older(document.document_id, document.version)

    def _collection(
        self, generation: Generation, content: ExpectedContent, rng: random.Random
    ) -> _Look:
        """All that is asked while no write may be applied; a fraction of a second."""
        ids = sorted(content.vectors)
        sample = rng.sample(ids, min(self._settings.gate_sample, len(ids)))
        asked = rng.sample(ids, min(RECALL_QUERIES, len(ids)))
        queries = np.array([content.vectors[each] for each in asked], dtype=np.float32).reshape(
            -1, generation.vector_size
        )
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), 32):
            hits += self._index.search(
                generation.collection, queries[start : start + 32], RECALL_DEPTH
            )
        return _Look(
            self._index.count(generation.collection),
            self._index.vectors(generation.collection, sample) if sample else {},
            queries,
            hits,
        )

    def _against_files(
        self, content: ExpectedContent, looked: _Look, faults: dict[str, str]
    ) -> dict[str, float]:
        expected = len(content.vectors)
        if looked.count != expected:
            faults["count"] = f"the collection has {looked.count} points, the files {expected}"
        wrong = sum(
            not np.allclose(vector, content.vectors[each], atol=SAMPLE_TOLERANCE)
            for each, vector in looked.sample.items()
        )
        wrong += min(self._settings.gate_sample, expected) - len(looked.sample)
        if wrong:
            faults["sample"] = f"{wrong} sampled vectors are not those of the files"
        everything = np.array(list(content.vectors.values()), dtype=np.float32)
        if fault := norms_fault(everything):
            faults["norms"] = fault
        recall = self._recall(everything, looked)
        if recall < self._settings.gate_min_recall:
            faults["recall"] = (
                f"recall@{RECALL_DEPTH} against exact search is {recall:.3f},"
                f" below {self._settings.gate_min_recall}"
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
        self, generation: Generation, live: Generation | None, faults: dict[str, str]
    ) -> dict[str, float]:
        questions, vectors = read_probes(self._store, probes_file(generation, generation))
        if not questions.num_rows:
            return {"probes": 0}
        same_cut = live is None or live.fingerprint == generation.fingerprint
        by = "passage_id" if same_cut else "document_id"
        mine = ranks(self._index, generation.collection, questions, vectors, by)
        report = {
            "probes": float(questions.num_rows),
            "probe_recall@1": recall_at(mine, 1),
            "probe_recall@5": recall_at(mine, 5),
            "probe_mrr": mean_reciprocal_rank(mine),
        }
        if live is None:
            return report
        questions, vectors = read_probes(self._store, probes_file(generation, live))
        theirs = ranks(self._index, live.collection, questions, vectors, by)
        comparison = compare(mine, theirs)
        if comparison.refused(self._settings.gate_tolerance):
            faults["probes"] = (
                f"probe recall@5 fell from {recall_at(theirs, 5):.3f} to {recall_at(mine, 5):.3f}"
                f" (p = {comparison.p_value:.4f})"
            )
        return report | {
            "live_probe_recall@5": recall_at(theirs, 5),
            "probe_recall_fall": comparison.fall,
            "probe_p_value": comparison.p_value,
        }


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

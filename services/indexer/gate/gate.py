"""The gate: before a generation goes live it is compared with its files, with live and with the
best accepted lately. `Gate` gathers the evidence; `checks` judge it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import structlog

from realm.errors import Corrupt, NotFound
from realm.records.baselines import READER_F1, GateBaselines
from realm.records.generation import Generation
from realm.records.task_files import probes_file
from realm.search.queries import QueryMaker
from realm.search.vector_index import Hit, VectorIndex
from realm.settings.groups import Gate as GateSettings
from services.indexer.build.lifecycle import Verdict
from services.indexer.context import Records
from services.indexer.gate.checks import (
    CHECKS,
    OVERRULABLE,
    RECALL_DEPTH,
    CollectionSample,
    Evidence,
    ProbeRanks,
    Readings,
)
from services.indexer.gate.content import ExpectedContent, stored_vectors
from services.indexer.gate.latency import LatencyComparison, measure
from services.indexer.gate.probes import Probes, alike, ranks, read_probes
from services.indexer.gate.readings import Reading
from services.indexer.gate.shadow import Agreement, agreement, queries, read_searches
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.replication import ReplicationState

RECALL_QUERIES = 100
SEARCH_BATCH = 32
#: Under steady writes candidate and live are seldom at one corpus version: wait this long for it.
ONE_VERSION_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Gate:
    """Compares; changes nothing."""

    def __init__(
        self,
        records: Records,
        index: VectorIndex,
        replication: ReplicationState,
        settings: GateSettings,
        baselines: GateBaselines,
        metrics: IndexerMetrics,
    ) -> None:
        self._records = records
        self._index = index
        self._replication = replication
        self._settings = settings
        self._baselines = baselines
        self._metrics = metrics

    def validate(
        self, candidate: Generation, live: Generation | None, live_is_whole: bool = True
    ) -> tuple[Verdict, dict[str, float]]:
        """Verdict and report; `live` is None for the first generation, and for the first with
        vectors. A damaged live generation is compared with by its files, and not at all if it is
        of the candidate's snapshot.

        :raises NotFound, Corrupt: if a file is gone or damaged by now.
        :raises Conflict: if a rollback interrupted it.
        """
        content, collection = self._frozen_collection(candidate)
        in_live = in_best = speed = read = None
        if self._settings.probes and candidate.is_refresh:
            compared = live if live and not live.words_alone else None
            whole = compared if live_is_whole else None
            own = read_probes(self._records.store, probes_file(candidate, candidate))
            in_live, theirs = self._ranks(candidate, whole, own)
            in_live = replace(in_live, searched=self._searched(candidate, whole))
            if len(own):
                damaged = compared is not whole
                best = compared if damaged else self._baselines.best(candidate, live)
                in_best = self._ranks_by_files(candidate, best, in_live.probes, content)
                speed = self._latency(candidate, in_live.probes, whole, theirs)
                read = self._readings(candidate, live, own)
        evidence = Evidence(
            self._settings, candidate, content, collection, in_live, in_best, speed, read
        )
        return self.judge(evidence)

    def judge(self, evidence: Evidence) -> tuple[Verdict, dict[str, float]]:
        """Runs every check; the verdict, and all their figures as one report."""
        report: dict[str, float] = {}
        faults: dict[str, str] = {}
        candidate = evidence.candidate
        for name, check in CHECKS.items():
            finding = check(evidence)
            report |= finding.figures
            if finding.fault:
                faults[name] = finding.fault
                self._metrics.validation_failures.labels(name).inc()
                log.error(
                    "gate_refuses", generation=candidate.number, check=name, why=finding.fault
                )
        for figure, value in report.items():
            self._metrics.gate_result.labels(figure).set(value)
        retry = not faults.keys() <= OVERRULABLE
        if candidate.forced and not retry:
            report["forced"] = float(len(faults))
            log.warning("gate_overruled", generation=candidate.number, by=candidate.forced)
            return Verdict(True), report
        return Verdict(not faults, "; ".join(faults.values()), retry), report

    def _frozen_collection(self, candidate: Generation) -> tuple[ExpectedContent, CollectionSample]:
        """What the files say, and the collection, while no write is applied to it: for a fraction
        of a second."""
        content = ExpectedContent()
        content.put_shards(self._records.store, self._records.snapshots, candidate)
        rng = random.Random(candidate.number)
        with self._replication.frozen(candidate.number):
            steps = self._replication.steps(candidate.number)
            content.put_steps(self._records.store, candidate, steps)
            ids = sorted(content.vectors)
            sample = rng.sample(ids, min(self._settings.sample, len(ids)))
            asked = rng.sample(ids, min(RECALL_QUERIES, len(ids)))
            queries = [content.query(each, candidate) for each in asked]
            hits: list[list[Hit]] = []
            for start in range(0, len(queries), SEARCH_BATCH):
                self._replication.check_frozen(candidate.number)
                batch = queries[start : start + SEARCH_BATCH]
                hits += self._index.search(candidate.collection, batch, RECALL_DEPTH)
            return content, CollectionSample(
                self._index.count(candidate.collection),
                stored_vectors(self._index, candidate, sample) if sample else {},
                self._index.weights(candidate.collection, sample) if sample else {},
                queries,
                hits,
            )

    def _ranks(
        self, candidate: Generation, live: Generation | None, own: Probes
    ) -> tuple[ProbeRanks, Probes]:
        """In the two collections; and the same questions encoded by live's snapshot."""
        theirs = own
        if not len(own):
            return ProbeRanks(own, []), theirs
        if live is not None:
            path = probes_file(candidate, live)
            own, theirs = alike(own, read_probes(self._records.store, path))
        with self._one_version(candidate, live):
            began = time.monotonic()
            by = own.by(candidate, live)
            mine = ranks(self._index, candidate.collection, self._maker(candidate, own), own, by)
            seconds = time.monotonic() - began
            before = None
            if live is not None:
                maker = self._maker(live, theirs)
                before = ranks(self._index, live.collection, maker, theirs, by)
        number = live.number if live else 0
        return ProbeRanks(own, mine, before, number, seconds), theirs

    def _searched(self, candidate: Generation, live: Generation | None) -> Agreement | None:
        """How far the two agree on users' searches; writes go on meanwhile."""
        if live is None:
            return None
        asked = []
        for each in (candidate, live):
            searches = read_searches(self._records.store, probes_file(candidate, each))
            asked.append((each.collection, queries(searches, self._maker(each, searches))))
        same_cut = candidate.fingerprint == live.fingerprint
        by = "passage_id" if same_cut else "document_id"
        return agreement(self._index.search, asked[0], asked[1], by)

    def _ranks_by_files(
        self,
        candidate: Generation,
        best: Generation | None,
        own: Probes,
        content: ExpectedContent,
    ) -> ProbeRanks | None:
        """The best accepted lately may have no collection any more: both are searched exactly, from
        their files, over the documents that have not changed between the two."""
        if best is None:
            return None
        old = ExpectedContent()
        try:
            old.put_shards(self._records.store, self._records.snapshots, best)
            theirs = read_probes(self._records.store, probes_file(candidate, best))
        except (NotFound, Corrupt) as error:
            log.warning("best_is_not_compared", best=best.number, why=str(error))
            return None
        common = set(content.documents.values()) & set(old.documents.values())
        names = {document_id for document_id, _ in common}
        own, theirs = alike(own.about(names), theirs.about(names))
        if not len(own):
            return None
        by = own.by(candidate, best)
        mine = content.ranks(self._maker(candidate, own), own, by, common)
        before = old.ranks(self._maker(best, theirs), theirs, by, common)
        return ProbeRanks(own, mine, before, best.number)

    def _readings(
        self, candidate: Generation, live: Generation | None, own: Probes
    ) -> Readings | None:
        """What the three readers score; those of a damaged live index are as good as ever."""
        if own.reading is None:
            return None
        best = self._baselines.best(candidate, live, READER_F1)
        return Readings(own.reading, self._reading(candidate, live), self._reading(candidate, best))

    def _reading(self, candidate: Generation, by: Generation | None) -> Reading | None:
        """None where nobody, or an embedder of an earlier release, had its reader answer."""
        if by is None or by.words_alone:
            return None
        try:
            return read_probes(self._records.store, probes_file(candidate, by)).reading
        except (NotFound, Corrupt) as error:
            log.warning("reader_is_not_compared", generation=by.number, why=str(error))
            return None

    def _latency(
        self, candidate: Generation, own: Probes, live: Generation | None, theirs: Probes
    ) -> LatencyComparison | None:
        """A burst of the same questions to both; writes go on meanwhile."""
        factor = self._settings.latency_factor
        if live is None or not factor:
            return None
        mine = candidate.collection, own.queries(self._maker(candidate, own))
        before = live.collection, theirs.queries(self._maker(live, theirs))
        return measure(self._index.search, mine, before, factor)

    def _maker(self, generation: Generation, probes: Probes) -> QueryMaker:
        """Weighs questions as gateways do; `probes` are encoded by the generation's snapshot."""
        return QueryMaker.of(self._records.store, generation, probes.relevance)

    @contextmanager
    def _one_version(self, candidate: Generation, live: Generation | None) -> Iterator[None]:
        """While both collections hold the same writes, and no more are applied."""
        deadline = time.monotonic() + ONE_VERSION_SECONDS
        with ExitStack() as frozen:
            with self._replication.lock:
                while live is not None and (left := deadline - time.monotonic()) > 0:
                    mine = self._replication.applied(candidate.number)
                    if mine == self._replication.applied(live.number):
                        break
                    self._replication.changed.wait(left)
                frozen.enter_context(self._replication.frozen(candidate.number))
            yield

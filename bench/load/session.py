"""A cluster under load: what it is set up with, what is observed, and the claims on every one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.apparatus.apparatus import Part
from bench.claims import Claim, at_least, none
from bench.cluster import BenchCluster
from bench.documents import DocumentWriter, first_documents, send
from bench.harness import Context
from bench.load.audit import Audit
from bench.load.generator import DEADLINE_SECONDS, LoadGenerator
from bench.load.ledger import Ledger
from bench.load.read_back import ReadBack, read_back
from bench.load.requests import RequestRecord, sightings
from bench.load.schedule import Due, Kind
from realm.client import Client
from realm.records.generations import Generations
from services.standalone.load.request_log import Verdict

SHOWN = 20
SUPERVISE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """How a cluster is set up and loaded.

    :param rates: requests a second; every write is followed by a search for what was written.
    :param audit_every: one search in so many is recomputed from the store.
    """

    rates: Mapping[Kind, float]
    settings: Mapping[str, str]
    audit_every: int
    gateways: int = 2
    standby: bool = False
    deadline_seconds: float = DEADLINE_SECONDS


@dataclass(frozen=True)
class Observations:
    """What is observed under every load. Times are Unix times."""

    began: float
    ended: float
    records: Sequence[RequestRecord]
    ledger: Ledger
    read_back: ReadBack
    verdicts: Mapping[str, int]
    restarts: Mapping[str, int]
    generations: Generations

    @cached_property
    def failed(self) -> list[RequestRecord]:
        return [record for record in self.records if record.failed]

    @cached_property
    def lost(self) -> list[str]:
        """Also what was found though nobody ever wrote it at that version."""
        seen = sightings(self.records)
        unknown = [str(each) for each in seen if self.ledger.is_unknown(each)]
        return [*self.read_back.lost, *unknown]

    @cached_property
    def resurrected(self) -> list[str]:
        seen = sightings(self.records)
        outdated = [str(each) for each in seen if self.ledger.is_outdated(each)]
        return [*self.read_back.resurrected, *outdated]

    @cached_property
    def mixed(self) -> int:
        """Responses whose scores belong to another version than they say."""
        return self.verdicts.get(Verdict.MIXED, 0)

    @cached_property
    def inconsistent(self) -> list[RequestRecord]:
        """Responses whose generation, snapshot and step do not belong together."""
        found = []
        for record in self.records:
            if record.origin is None:
                continue
            made = self.generations.get(record.origin.generation)
            if (record.origin.snapshot, record.origin.step) != (made.snapshot, made.step):
                found.append(record)
        return found

    def faulty(self, *kinds: Kind) -> list[RequestRecord]:
        return [record for record in self.records if record.fault and record.kind in kinds]

    def version_claims(self, audited: int) -> list[Claim]:
        checked = self.verdicts.get(Verdict.ONE_VERSION, 0) + self.mixed
        return [
            none("failed requests", len(self.failed)),
            none("mixed-version answers: scores recomputed from the store", self.mixed),
            none(
                "mixed-version answers: generation, snapshot, step disagree",
                len(self.inconsistent),
            ),
            at_least("responses whose scores were recomputed", checked, audited),
        ]

    def write_claims(self, lost: str = "lost documents") -> list[Claim]:
        fresh = self.faulty(Kind.FRESH)
        return [
            none(lost, len(self.lost)),
            none("resurrected or outdated documents", len(self.resurrected)),
            none("at_least violations: own write not found, or an older version", len(fresh)),
        ]

    def figures(self) -> dict[str, Any]:
        faults = [f"{each.kind}: {each.fault}" for each in self.faulty(*Kind)]
        return {
            "seconds": round(self.ended - self.began, 1),
            "requests": dict(Counter(str(record.kind) for record in self.records)),
            "documents": len(self.ledger),
            "corpus_versions": self.ledger.newest_version,
            "looked_at_afterwards": self.read_back.looked,
            "audit": self.verdicts,
            "restarts": self.restarts,
            "failures": [record.failed for record in self.failed[:SHOWN]],
            "faults": faults[:SHOWN],
            "lost": self.lost[:SHOWN],
            "resurrected": self.resurrected[:SHOWN],
        }


#: What is done to the cluster meanwhile, until the event is set; whether all can be read back.
Activity = Callable[[LoadGenerator, asyncio.Event], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class LoadSession:
    """A cluster that answers, filled with documents."""

    cluster: BenchCluster
    writer: DocumentWriter
    ledger: Ledger
    audit: Audit
    profile: LoadProfile
    seed: int

    async def observe(self, due: Iterable[Due], activity: Activity) -> Observations:
        """Sends what is due while the activity goes on, then reads everything back."""
        cluster, stop = self.cluster, asyncio.Event()
        load = LoadGenerator(
            cluster.gateways, self.writer, self.ledger, self.seed,
            self.audit.offer, self.profile.deadline_seconds,
        )  # fmt: skip
        supervising = asyncio.create_task(_supervise(cluster))
        began = time.time()
        acting = asyncio.ensure_future(activity(load, stop))
        try:
            await load.run(due)
            ended = time.time()
            stop.set()
            found = ReadBack([], [], 0)
            quiet = await acting
            if supervising.done():
                supervising.result()  # raises what ended it: a process that cannot start
            if quiet:
                found = await read_back(cluster, self.writer, self.ledger, load.written)
        finally:
            acting.cancel()
            supervising.cancel()
        return Observations(
            began=began,
            ended=ended,
            records=load.records,
            ledger=self.ledger,
            read_back=found,
            verdicts=self.audit.verdicts(),
            restarts=cluster.restarts,
            generations=Generations(cluster.store),
        )


@contextmanager
def load_session(
    context: Context,
    profile: LoadProfile,
    documents: int,
    writer: DocumentWriter,
    publish: Callable[[BenchCluster], object],
    apparatus: Set[Part] = frozenset(),
) -> Iterator[LoadSession]:
    """Starts a cluster over the first documents of a writer; `publish` gives it a snapshot.

    :param apparatus: what can be made to fail.
    """
    ledger = Ledger()
    with BenchCluster(
        context.folder,
        profile.settings,
        profile.gateways,
        standby=profile.standby,
        apparatus=apparatus,
    ) as cluster:
        corpus = first_documents(writer, documents)
        with Client(cluster.gateways[0], timeout=60) as client:
            version = send(client, corpus, batch=len(corpus))
        for each in corpus:
            ledger.acknowledged(each.id, 0, version)
        publish(cluster)
        cluster.start_embedders()
        cluster.await_answers()
        with Audit(cluster.store.url, profile.audit_every) as audit:
            yield LoadSession(cluster, writer, ledger, audit, profile, context.seed)


async def _supervise(cluster: BenchCluster) -> None:
    """Starts again whatever dies, and counts it."""
    while True:
        cluster.supervisor.restart_dead()
        await asyncio.sleep(SUPERVISE_SECONDS)

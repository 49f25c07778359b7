"""A cluster under load: what it is set up with, what is observed, and the claims on every one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from bench.apparatus.apparatus import Part
from bench.claims import Claim, at_least, none
from bench.cluster import BenchCluster
from bench.documents import DocumentWriter, first_documents
from bench.harness import Context
from bench.history.checker import Report, check
from bench.history.clients import BlockingRecordedClient, Identity, RecordedClient
from bench.history.events import Begun, Kind
from bench.history.history import History, Operation, read_history
from bench.history.promises import Promise
from bench.history.readings import Readings
from bench.history.recorder import Recorder
from bench.load.audit import Audit
from bench.load.believed import Believed
from bench.load.generator import DEADLINE_SECONDS, LoadGenerator
from bench.load.read_out import ReadOut
from bench.load.schedule import Due
from realm.client import AsyncClient, Client, Session
from realm.records.generations import Generations

SHOWN = 20
#: Of tiny models, whose refreshes take seconds: unused collections and files go soon.
QUICK_REFRESHES = {
    "REALM_RECONCILE_SECONDS": "0.5",
    "REALM_RETIREMENT_SECONDS": "45",
    "REALM_GATE_PROBES": "100",
}
SUPERVISE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """How a cluster is set up and loaded.

    :param rates: requests a second; every write is followed by a search for what was written.
    :param audit_every: one response in so many is recomputed from the store.
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
    history: History
    restarts: Mapping[str, int]
    generations: Generations

    @cached_property
    def report(self) -> Report:
        return check(self.history)

    @property
    def operations(self) -> list[Operation]:
        return self.history.under_load

    def claims(self, audited: int) -> list[Claim]:
        """Of every promise, and that enough was looked at to see it broken."""
        report = self.report
        return [
            *(
                none(f"{promise}. {promise.sentence} Violations", len(report.of(promise)))
                for promise in Promise
            ),
            none("what the final read-out does not cover", len(report.gaps)),
            at_least("reads that had to find a document", report.decisive, audited),
            at_least("responses that were recomputed from the store", report.audited, audited),
        ]

    def figures(self) -> dict[str, Any]:
        report = self.report
        return {
            "seconds": round(self.ended - self.began, 1),
            "requests": dict(Counter(str(each.kind) for each in self.operations)),
            "outcomes": dict(Counter(str(each.outcome) for each in self.operations)),
            "looked_at": report.looks,
            "had_to_be_found": report.decisive,
            "explained_by_writes_of_unknown_fate": report.explained,
            "collections_read": len(self.history.held),
            "audit": dict(Counter(each.verdict for each in self.history.audits)),
            "excused": dict(report.excused),
            "restarts": self.restarts,
            "violations": [str(each) for each in report.violations[:SHOWN]],
            "gaps": report.gaps[:SHOWN],
        }


T = TypeVar("T")
#: What is done to the cluster meanwhile, until the event is set; whether all can be read back.
Activity = Callable[[asyncio.Event], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class LoadSession:
    """A cluster that answers, filled with documents."""

    cluster: BenchCluster
    recorder: Recorder
    writer: DocumentWriter
    believed: Believed
    audit: Audit
    profile: LoadProfile
    seed: int

    async def observe(self, due: Iterable[Due], activity: Activity) -> Observations:
        """Sends what is due while the activity goes on, then reads everything back."""
        cluster, stop = self.cluster, asyncio.Event()
        clients = self._clients()
        load = LoadGenerator(clients, self.writer, self.believed, self.seed, self.audit.offer)
        readings = Readings(cluster.store, cluster.qdrant_url, self.recorder)
        watching: list[asyncio.Task[None]] = [
            asyncio.create_task(_supervise(cluster)),
            asyncio.create_task(readings.run()),
        ]
        began = time.time()
        acting = asyncio.ensure_future(activity(stop))
        loading = asyncio.create_task(load.run(due))
        try:
            await unless_one_fails(loading, [acting, *watching])
            ended = time.time()
            stop.set()
            if await unless_one_fails(acting, watching):
                staying = clients[: len(cluster.gateways)]
                read_out = ReadOut(self.recorder, self.writer, self.believed)
                await read_out.run(staying, readings)
            readings.record_versions()
        finally:
            for each in (acting, loading, *watching):
                each.cancel()
            await asyncio.gather(*(client.close() for client in clients))
        for audited in await asyncio.to_thread(self.audit.verdicts):
            self.recorder.record(audited)
        return Observations(
            began=began,
            ended=ended,
            history=read_history(self.recorder.file),
            restarts=cluster.restarts,
            generations=Generations(cluster.store),
        )

    def _clients(self) -> list[RecordedClient]:
        """One user for each gateway; and one who goes from gateway to gateway, with a session."""
        session = Session()
        staying = [
            self._client(Identity(self.recorder, f"client-{place}", place))
            for place in range(len(self.cluster.gateways))
        ]
        roaming = [
            self._client(Identity(self.recorder, "roaming", place, session))
            for place in range(len(self.cluster.gateways))
        ]
        return [*staying, *roaming]

    def _client(self, identity: Identity) -> RecordedClient:
        address, seconds = self.cluster.gateways[identity.gateway], self.profile.deadline_seconds
        return RecordedClient(
            identity, AsyncClient(address, timeout=seconds, session=identity.session)
        )


@contextmanager
def load_session(
    context: Context,
    profile: LoadProfile,
    documents: int,
    writer: DocumentWriter,
    publish: Callable[[BenchCluster], object],
    apparatus: Set[Part] = frozenset(),
    qdrant: str = "",
) -> Iterator[LoadSession]:
    """Starts a cluster over the first documents of a writer; `publish` gives it a snapshot.

    :param apparatus: what can be made to fail.
    :param qdrant: as of `BenchCluster`.
    """
    believed = Believed(context.seed)
    with (
        Recorder(context.history) as recorder,
        BenchCluster(
            context.folder,
            profile.settings,
            profile.gateways,
            standby=profile.standby,
            apparatus=apparatus,
            qdrant=qdrant,
        ) as cluster,
    ):
        recorder.record(Begun(context.bench, context.seed, context.parameters))
        corpus = first_documents(writer, documents)
        with Client(cluster.gateways[0], timeout=60) as client:
            loader = BlockingRecordedClient(Identity(recorder, "loader"), client)
            version = loader.upsert(corpus)
        for each in corpus:
            believed.wrote(each.id, 0, version)
        publish(cluster)
        cluster.start_embedders()
        cluster.await_answers()
        with Audit(cluster.store.url, profile.audit_every) as audit:
            yield LoadSession(cluster, recorder, writer, believed, audit, profile, context.seed)


async def unless_one_fails(work: asyncio.Future[T], others: Iterable[asyncio.Future[Any]]) -> T:
    """The work's result. Raises at once, if one of the others fails meanwhile: a process that
    cannot start, or what was to be done to the cluster."""
    left = set(others)
    while not work.done():
        done, _ = await asyncio.wait({work, *left}, return_when=asyncio.FIRST_COMPLETED)
        left -= done
        for each in done - {work}:
            each.result()
    return work.result()


async def _supervise(cluster: BenchCluster) -> None:
    """Starts again whatever dies, and counts it."""
    while True:
        cluster.supervisor.restart_dead()
        await asyncio.sleep(SUPERVISE_SECONDS)

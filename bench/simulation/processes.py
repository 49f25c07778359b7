"""The simulated processes: the product's indexer, embedder and gateway, on simulated ground.

What is replaced: the models' arithmetic (a vector follows from snapshot and content), gRPC, and the
threads' start; locks, clocks and connections are the simulation's. All else is product code.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from prometheus_client import CollectorRegistry

from bench.simulation.loop import SimulatedLoop
from bench.simulation.qdrant import SimulatedIndex
from bench.simulation.redis import Sender, SimulatedWakeup, task_in
from bench.simulation.scheduler import Condition, Process, Thread
from bench.simulation.storage import open_store
from realm.corpus.table import Write
from realm.errors import DependencyUnavailable, RealmError
from realm.model.relevance import DENSE_ONLY
from realm.process.queue import DELTA_QUEUE, EMBED_CHANGES, EMBED_QUEUE, EMBED_SHARD
from realm.records import arrow
from realm.records.generation import Generation, LiveEntry
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot, Snapshots
from realm.records.store import Store
from realm.records.vectors import to_table
from realm.search.queries import QueryMaker
from services.embedder.claims import RENEWALS, WorkClaims
from services.embedder.liveness import Liveness
from services.embedder.metrics import EmbedderMetrics
from services.embedder.tasks import Embedder, Job, Outcome
from services.gateway.loading import Loader
from services.gateway.metrics import GatewayMetrics
from services.gateway.serving import Freshness, Serving, ServingSlot
from services.gateway.view import StoreView
from services.gateway.watcher import LiveWatcher
from services.indexer.connections import Connections
from services.indexer.gateways import GatewayReport
from services.indexer.indexer import Indexer
from services.indexer.leader.election import BEATS_PER_LEASE, Election
from services.indexer.metrics import IndexerMetrics
from services.indexer.writes.applier import ChangeStep, StepPlanner

if TYPE_CHECKING:
    from bench.simulation.world import World

#: A document with the first kills whoever embeds it; the second has no finite vector.
KILLS, BREAKS = "killsembedders", "breaksvectors"
POLL_SECONDS = 0.5
VERIFY_SECONDS = 7.0
INDEXER_METRICS = IndexerMetrics(CollectorRegistry())
EMBEDDER_METRICS = EmbedderMetrics(CollectorRegistry())
GATEWAY_METRICS = GatewayMetrics(CollectorRegistry())
CPU = torch.device("cpu")


class Site:
    """Where one process runs, again and again: its supervisor starts it whenever it has ended."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.lives = 0
        self.process = Process(name, 0.0, alive=False)

    def start(self) -> None:
        self.lives += 1
        self.process = Process(
            self.name, self.world.scheduler.now - self.world.rng.uniform(1, 1e5), self.process.skew
        )
        self.thread("main", self.main)

    def main(self) -> None:
        raise NotImplementedError

    def thread(self, name: str, body: Callable[[], object]) -> Thread:
        """An exception in any of its threads ends the process, as the product does it."""

        def vital() -> None:
            try:
                body()
            except Exception as error:
                self.world.crashed(self, error)

        return self.world.scheduler.spawn(self.process, name, vital)

    def every(self, seconds: float, work: Callable[[], object]) -> Callable[[], None]:
        def repeat() -> None:
            while work() is not False:
                self.world.scheduler.sleep(seconds)

        return repeat


class WatchedPlanner(StepPlanner):
    """The product's, looked at."""

    def __init__(
        self, reach: Callable[[str], None], writes: Callable[[int, int], Sequence[Write]]
    ) -> None:
        super().__init__(writes)
        self._reach = reach

    def replan(self, step: ChangeStep, newest: int) -> ChangeStep:
        found = super().replan(step, newest)
        if found.upto != step.upto:
            self._reach("a step is planned anew without what was deleted")
        return found


class IndexerSite(Site):
    """Stands by, leads, ends when it lost, and begins again."""

    election: Election
    indexer: Indexer

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.leads = False

    @property
    def believes_to_lead(self) -> bool:
        return self.process.alive and self.leads and not self.election.lost

    def main(self) -> None:
        world, self.leads = self.world, False
        store = open_store(world.disk, world.network)
        self.election = Election(
            world.settings, store, world.scheduler.monotonic, self._has_certainly_ended
        )
        self.election.by = f"{self.name}/{self.lives}"
        connections = Connections(
            index=lambda hooks: SimulatedIndex(world.qdrant, world.network, hooks),
            queue=Sender(world.redis, world.network, world.rng),
            wakeup=SimulatedWakeup(world.network, world.rng, world.tell),
            condition=lambda: Condition(world.scheduler),
        )
        self.indexer = Indexer(world.settings, store, INDEXER_METRICS, self.election, connections)
        self.election.look()
        seconds = world.settings.indexer.lease_seconds / BEATS_PER_LEASE
        self.thread("election", self.every(seconds, self.election.look))
        self.thread("beat", self.every(seconds, self.election.beat_in_redis))
        while not self.election.lost:
            if self.election.leads and not self.leads:
                self._lead()
            world.scheduler.sleep(POLL_SECONDS)
        world.ended(self)

    def resign(self) -> None:
        """It is told to stop, with nothing half done, and its work handed on."""
        self.election.stop(resign=True)
        self.world.ended(self)

    def _lead(self) -> None:
        try:
            self.indexer.lead()
        except RealmError:
            return
        self.leads = True
        indexer = self.indexer
        self.thread("writer", self.every(POLL_SECONDS, lambda: indexer.writer.write_waiting(0.0)))
        self.thread("applier", indexer.applier.body)
        self.thread("reconciler", indexer.reconciler.body)
        if self.world.plan.damages:
            self.thread("verify", self.every(VERIFY_SECONDS, self._verify))
        self.world.led(self)

    def _verify(self) -> None:
        try:
            self.indexer.integrity.verify()
        except RealmError:
            return

    def _has_certainly_ended(self, named: str) -> bool:
        """Only of a process of the same machine."""
        return self.world.plan.one_machine and not self.world.is_alive(named)


@dataclass(frozen=True, slots=True)
class SimulatedEmbedder(Embedder):
    """The product's, with arithmetic that takes no time in the real world."""

    world: World | None = None

    def _embed(self, job: Job, *, reuse: bool) -> None:
        world = self.world
        assert world is not None
        snapshot = Snapshots(self.store).get(job.snapshot)
        table = arrow.read_table(self.store, job.input_file)
        texts = " ".join(table["text"].to_pylist())
        world.scheduler.sleep(world.rng.expovariate(1.0 / world.plan.embed_seconds))
        if KILLS in texts:
            world.die("an embedder dies of a document")
        ids, hashes = table["passage_id"].to_pylist(), table["content_hash"].to_pylist()
        made = np.array([vector_of(snapshot.number, each) for each in hashes], np.float32)
        made = made.reshape(len(ids), snapshot.vector_size)
        if BREAKS in texts:
            made[:] = math.nan
        arrow.create_table(
            self.store, job.output_file, to_table(ids, hashes, made, {"embedded": str(len(ids))})
        )


def vector_of(snapshot: int, content: str) -> tuple[float, float]:
    """A unit vector [2] that follows from snapshot and content."""
    digest = hashlib.blake2b(f"{snapshot}{content}".encode(), digest_size=4).digest()
    angle = 2 * math.pi * int.from_bytes(digest, "big") / 2**32
    return math.cos(angle), math.sin(angle)


class EmbedderSite(Site):
    """Takes tasks from the queues, changes first."""

    def main(self) -> None:
        world = self.world
        store = open_store(world.disk, world.network)
        silence = world.settings.embedder.work_silence_seconds
        claims = WorkClaims("redis://simulated", silence)
        embedder = SimulatedEmbedder(
            store=store,
            generations=Generations(store),
            encoders=None,  # type: ignore[arg-type]
            claims=claims,
            max_deliveries=world.settings.embedder.max_deliveries,
            wakeup=SimulatedWakeup(world.network, world.rng, world.tell),
            metrics=EMBEDDER_METRICS,
            liveness=Liveness(),
            world=world,
        )
        self.thread("claim", self.every(silence / RENEWALS, claims.renew))
        while True:
            if (message := self._next()) is None:
                world.scheduler.sleep(POLL_SECONDS)
            else:
                self._do(embedder, message)

    def _next(self) -> bytes | None:
        for queue in (DELTA_QUEUE, EMBED_QUEUE):
            if held := self.world.redis.queues.get(queue):
                return held.pop(0)
        return None

    def _do(self, embedder: Embedder, message: bytes) -> None:
        name, arguments = task_in(message)
        job = Job(**arguments)
        work = {EMBED_SHARD: embedder.embed_shard, EMBED_CHANGES: embedder.embed_changes}[name]
        try:
            outcome = work(job)
        except DependencyUnavailable:
            return  # the indexer sends it again
        if outcome is Outcome.ELSEWHERE:
            self.world.oracle.reach("a task is with two embedders at once")
        elif outcome is Outcome.EXISTS:
            self.world.oracle.reach("a task is done that was done already")


class CheckedSlot(ServingSlot):
    """The product's, looked at: what it promises never goes back."""

    def __init__(self, site: GatewaySite) -> None:
        super().__init__()
        self._site = site

    def flip(self, serving: Serving, freshness: Freshness) -> None:
        before = self.current
        super().flip(serving, freshness)
        self._site.flipped(before, serving)


class CheckedWatcher(LiveWatcher):
    """The product's, looked at."""

    world: World

    def _is_behind(self, freshness: Freshness) -> bool:
        behind = super()._is_behind(freshness)
        if behind:
            self.world.oracle.reach("a gateway waits for an index that is behind")
        return behind


class GatewaySite(Site):
    """Follows what is live. `claimed` is the corpus version that it promised last."""

    watcher: CheckedWatcher
    slot: ServingSlot
    loop: SimulatedLoop

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.claimed = 0

    def main(self) -> None:
        world, self.claimed = self.world, 0
        self.loop = SimulatedLoop(world.scheduler, self.process)
        self.loop.set_exception_handler(lambda *_: None)
        self.slot = CheckedSlot(self)
        view = StoreView(open_store(world.disk, world.network))
        loader = Loader(view, device=CPU, dtype=torch.float32, load=self._load)
        self.watcher = CheckedWatcher(
            world.settings, view, self.slot, loader, GATEWAY_METRICS, on_change=self._changed
        )
        self.watcher.world = world
        try:
            self.loop.run_until_complete(self.watcher.run())
        finally:
            # Of a killed process: now, and not whenever memory is given back.
            for task in asyncio.all_tasks(self.loop):
                task.get_coro().close()
            self.loop.close()

    def wake(self) -> None:
        if self.process.alive and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.watcher.wake)

    def flipped(self, before: Serving | None, after: Serving) -> None:
        world = self.world
        world.network.note(f"flips to {after.number}")
        if before is not None and after.entry.sequence < before.entry.sequence:
            world.violated(
                f"{self.name} flips from entry {before.entry.sequence} back to"
                f" {after.entry.sequence}"
            )
        if before is not None and before.number != after.number:
            world.oracle.reach("a gateway flips")
        self._check(after.number)

    def _changed(self) -> None:
        if (current := self.slot.current) is not None:
            self._check(current.number)
            world = self.world
            for leader in world.leaders():
                leader.indexer.gateways.record(
                    GatewayReport(self.name, current.number, self.watcher.ready)
                )

    def _check(self, number: int) -> None:
        freshness = self.slot.freshness(number)
        if freshness is None or freshness.damaged:
            return
        if freshness.corpus_version < self.claimed and not self._may_go_back():
            self.world.violated(
                f"{self.name} goes back from version {self.claimed} to"
                f" {freshness.corpus_version}, of generation {number}"
            )
        self.claimed = freshness.corpus_version

    def _may_go_back(self) -> bool:
        """From an index that is damaged, or about to be deleted."""
        since = self.watcher._behind_since
        patience = self.world.settings.indexer.retirement_seconds / 2
        waited = since is not None and self.world.scheduler.monotonic() - since >= patience
        return waited or bool(self.world.oracle.damaged or self.world.oracle.tainted)

    def _load(
        self,
        store: Store,
        snapshots: Snapshots,
        snapshot: Snapshot,
        generation: Generation,
        entry: LiveEntry,
        *,
        device: torch.device,
        dtype: torch.dtype,
        before: Serving | None = None,
    ) -> Serving:
        """Reads the files as loading does; the models are of no matter here."""
        snapshots.verify(snapshot)
        self.world.scheduler.sleep(self.world.rng.uniform(0.1, 3.0))
        models: dict[str, Any] = {"inputs": None, "encoder": None, "reader": None}
        queries = QueryMaker.of(store, generation, DENSE_ONLY)
        return Serving(entry, generation, queries=queries, dtype=dtype, **models)

"""Puts the indexer together: its parts and threads, their start and stop. No gRPC here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from realm.corpus.delta_log import LOG
from realm.corpus.table import CorpusTable
from realm.errors import DamagedCorpus, FailedPrecondition, RealmError
from realm.process.threads import VitalThread
from realm.process.wakeup import RARER
from realm.records.baselines import GateBaselines
from realm.records.generation import collection_name
from realm.records.recorded_questions import Bounds
from realm.records.retention import Retention
from realm.records.store import Store
from realm.search.vector_index import ChangeHooks
from realm.settings import Settings
from services.indexer.build.actions import Actions
from services.indexer.build.build import BuildContext, Memory
from services.indexer.build.builder import Builder
from services.indexer.build.committer import Committer
from services.indexer.build.copies import CopyKeeper
from services.indexer.build.lifecycle import Observation
from services.indexer.build.observer import Observer
from services.indexer.build.reconciler import Reconciler
from services.indexer.build.requests import ProbeRequests, ShardRequests
from services.indexer.build.tracker import BuildTracker
from services.indexer.connections import Connections
from services.indexer.context import CorpusReader, Records, SeenVersion
from services.indexer.gate.gate import Gate
from services.indexer.gate.integrity import Integrity
from services.indexer.gate.shadow import RecentSearches
from services.indexer.gateways import GatewayReports, QuestionRecorder
from services.indexer.leader.election import AlwaysLeader, Leadership
from services.indexer.leader.housekeeping import Housekeeping
from services.indexer.metrics import IndexerMetrics
from services.indexer.report.refreshes import RefreshMonitor
from services.indexer.report.status import Status
from services.indexer.tasks import OutstandingTasks, TaskSender
from services.indexer.wake import PollingThread, WakeSignal, WakeupListener
from services.indexer.writes.applier import ChangeApplier
from services.indexer.writes.replication import ReplicationState
from services.indexer.writes.writer import Writer

STOP_SECONDS = 10.0

log = structlog.get_logger(__name__)


class Indexer:
    """Four worker threads (writer, change applier, reconciler, integrity), one Redis listener.

    A standby has made this object but not called `start`: it touches nothing. Every change to
    store, corpus or Qdrant asks `leadership` first.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: IndexerMetrics,
        leadership: Leadership | None = None,
        connections: Connections | None = None,
    ) -> None:
        connections = connections or Connections.of(settings)
        self.settings = settings
        self.leadership: Leadership = leadership or AlwaysLeader()
        self.records = Records.of(store.guarded(self.leadership.check))
        self.generations, self.snapshots = self.records.generations, self.records.snapshots
        self.controls = self.records.controls
        self.index = connections.index(
            ChangeHooks(
                self.leadership.check,
                self.leadership.changed,
                self._refuse_to_drop,
                metrics.note_peer,
            )
        )
        self.gateways = GatewayReports(settings.indexer.gateway_ttl_seconds)
        self.replication = ReplicationState(self.generations, connections.condition())
        self.memory = Memory()
        self.recorder = QuestionRecorder(self.records.store, Bounds.of(settings))
        self.searches = RecentSearches(self.records.store, settings.gate.shadow)
        self.wake = WakeSignal(connections.condition())
        self._newest = SeenVersion()
        self.corpus, self.listings = self._reader(), self._reader()
        self._stopping = threading.Event()
        self._started = False
        self._metrics = metrics
        self._wakeup = connections.wakeup
        self._tasks = TaskSender(
            connections.queue,
            OutstandingTasks(settings.addresses.redis_url, self.generations.is_active),
            settings.indexer.request_again_seconds,
            metrics,
        )
        self._listener = WakeupListener(
            settings.addresses.redis_url, self.wake, self._tasks.allow_resend
        )
        metrics.refresh_target.set(settings.indexer.refresh_target_seconds)
        metrics.dependency_up.labels("redis").set_function(self._redis_is_up)
        self.writer = Writer(
            self._open_for_writing,
            settings.corpus.write_group_seconds,
            self._committed,
            self.leadership.check,
        )
        self.committer = Committer(
            self.records, self.index, self.replication, self._wakeup, metrics, self._term
        )
        self.integrity = Integrity(
            self.records,
            self.index,
            self._reader(),
            self.replication,
            metrics,
            on_damage=lambda: self._notify("live"),
            pause_seconds=settings.indexer.verify_seconds,
        )
        self.status = Status(
            self.records, self._reader(), self.replication, self.gateways, self.memory
        )
        self.reconciler = PollingThread(
            "reconcile",
            self._make_reconciler().reconcile,
            self.wake,
            settings.indexer.reconcile_seconds,
            self._rest_seconds,
            metrics,
        )
        self.applier = PollingThread(
            "apply_changes",
            self._make_applier().tick,
            self.wake,
            settings.indexer.reconcile_seconds,
            self._rest_seconds,
            metrics,
        )
        self._threads = [
            self.writer,
            self.applier,
            self.reconciler,
            VitalThread("verify", self.integrity.run),
            self._listener,
        ]

    def start(self) -> None:
        """Begins to lead.

        :raises RealmError: if the store does not let it; ask again.
        """
        self.lead()
        for thread in self._threads:
            thread.start()

    def lead(self) -> None:
        """What comes before its threads. :raises RealmError: as `start`."""
        self.committer.fence(self.leadership.floor)
        self._started = True
        self._metrics.leads.set(1)
        self._metrics.term.set(self.leadership.term)
        self._wakeup.send("live")

    def dead_threads(self) -> list[str]:
        """Names of threads that ended without being stopped."""
        if not self._started or self._stopping.is_set():
            return []
        return [thread.name for thread in self._threads if not thread.is_alive()]

    def stop(self, seconds: float = STOP_SECONDS) -> bool:
        """Lets each thread finish its work in hand; accepted writes are still committed.

        Returns whether all ended in time.
        """
        deadline = time.monotonic() + seconds
        self._stopping.set()
        self.writer.stop()
        self.applier.stop()
        self.reconciler.stop()
        self.integrity.stop()
        self._listener.stop()
        ended = True
        for thread in self._threads if self._started else ():
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                ended = False
                log.warning("thread_still_running", thread=thread.name)
        self.index.close()
        self._wakeup.close()
        self._tasks.close()
        return ended

    def _make_applier(self) -> ChangeApplier:
        return ChangeApplier(
            self.records,
            self.index,
            self._reader(),
            self.replication,
            self._tasks,
            self.integrity.counts,
            self._metrics,
            on_applied=self._applied,
        )

    def _make_reconciler(self) -> Reconciler:
        settings, corpus = self.settings, self._reader()
        context = BuildContext(
            self.records, self.index, self.replication, self._tasks, self._metrics, settings,
            self.memory, self._stopping.is_set,
        )  # fmt: skip
        baselines = GateBaselines(self.generations, self.snapshots, settings.gate.memory)
        observer = Observer(context, corpus, lambda: self.integrity.counts.missing, self._floor)
        shard_seconds = settings.indexer.shard_seconds
        actions = Actions(
            context,
            Builder(self.records, corpus, shard_seconds, self.index.collections, self._term),
            ShardRequests(self.records, self._tasks),
            ProbeRequests(
                self.records, self._tasks, settings.gate, baselines, self.recorder, self.searches
            ),
            Gate(
                self.records, self.index, self.replication, settings.gate, baselines, self._metrics
            ),
            self.committer,
            self._wakeup,
        )
        tracker = BuildTracker(context, baselines)
        return Reconciler(context, observer, tracker, actions, self._report(corpus))

    def _report(self, corpus: CorpusReader) -> Callable[[Observation], None]:
        settings = self.settings
        refreshes = RefreshMonitor(
            self.records, self.index, corpus, self.replication, self.gateways, self.memory,
            self._metrics,
        )  # fmt: skip
        housekeeping = Housekeeping(
            self.records,
            self.index,
            Retention(
                self.records.store, self.snapshots, self.generations,
                settings.indexer.retirement_seconds, settings.gate.memory, Bounds.of(settings),
            ),
            self.writer.run_maintenance,
            settings.corpus.erase_within_seconds,
            self._metrics,
        )  # fmt: skip

        copies = CopyKeeper(self.generations, self.index, self._metrics)

        def report(seen: Observation) -> None:
            parts: tuple[Callable[[], object], ...] = (
                partial(refreshes.update, seen),
                partial(copies.run_when_due, seen),
                self.recorder.write_when_due,
                self.searches.drop_forgotten,
                partial(housekeeping.run_when_due, asked=seen.collect),
            )
            for part in parts:
                try:
                    part()
                except RealmError as error:
                    # A failure of one must not keep the others from running.
                    self._metrics.action_failures.labels("report").inc()
                    log.warning("report_failed", why=str(error))

        return report

    def _rest_seconds(self) -> float:
        pause = self.settings.indexer.reconcile_seconds
        return RARER * pause if self._listener.connected else pause

    def _redis_is_up(self) -> bool:
        """A standby never asks, and must not raise an alarm."""
        return self._listener.connected or not self._started

    def _refuse_to_drop(self, collection: str) -> None:
        """:raises FailedPrecondition: if gateways search it, or would after a rollback."""
        for number in self.generations.served():
            made = self.generations.find(number)
            if collection == (made.collection if made else collection_name(number)):
                raise FailedPrecondition(f"{collection} is searched: it is never dropped")

    def _term(self) -> int:
        return self.leadership.term

    def _floor(self) -> int:
        return self.leadership.floor

    def _open_table(self) -> CorpusTable:
        return CorpusTable(self.records.store)

    def _open_for_writing(self) -> CorpusTable:
        """:raises DamagedCorpus: if an index holds versions that the log has lost: other writes
        would take their numbers.
        """
        table = self._open_table()
        held = max(map(self._held, self.generations.served()), default=0)
        if held > table.version:
            raise DamagedCorpus(
                f"the corpus ends at version {table.version}, but an index holds version {held}:"
                f" restore what {LOG} has lost from a backup",
                file=LOG,
            )
        return table

    def _held(self, generation: int) -> int:
        """The corpus version that a generation certainly holds: a stray file tells of none."""
        if self.generations.find(generation) is None:
            return 0
        if self.generations.points(generation) is None:
            return self.generations.get(generation).corpus_version
        return self.generations.applied(generation)

    def _reader(self) -> CorpusReader:
        return CorpusReader(self._open_table, self._newest)

    def _committed(self, version: int) -> None:
        self._newest.saw(version)
        self._notify("writes")

    def _applied(self, generation: int) -> None:
        if generation == self.replication.live:
            self._notify("live")
        else:
            self.wake.notify()

    def _notify(self, topic: str) -> None:
        """Wakes this process's threads and, through Redis, the other processes."""
        self.wake.notify()
        self._wakeup.send(topic)

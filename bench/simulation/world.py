"""One schedule: processes of the product over a simulated store, Qdrant, Redis and clock, what
happens to them, and what comes of it."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from unittest.mock import patch

import redis as redis_library

from bench.simulation.clock import simulated
from bench.simulation.convergence import unconverged
from bench.simulation.events import perform
from bench.simulation.ground import Ground, fingerprint, inputs, settings, snapshot_folder
from bench.simulation.happenings import (
    DOCUMENTS,
    Beginning,
    Event,
    Happening,
)
from bench.simulation.network import Act, Network, Step, Trap
from bench.simulation.oracle import Violation
from bench.simulation.plan import Plan
from bench.simulation.processes import (
    EmbedderSite,
    GatewaySite,
    IndexerSite,
    Site,
    WatchedPlanner,
)
from bench.simulation.redis import Client, Redis
from bench.simulation.scheduler import Process, Scheduler
from bench.simulation.storage import open_store
from realm.records.leaders import Leaders
from realm.records.snapshots import Snapshot, Snapshots
from services.gateway.watcher import TOPICS
from services.indexer.build.build import Build
from services.indexer.writes import applier

#: After all is mended things must have come right within this time.
PATIENCE_SECONDS = 400.0
SETTLING_SECONDS = 3.0
RESTART_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a schedule; `failure` is empty if every invariant held."""

    plan: Plan
    failure: str
    steps: int
    seconds: float
    reached: Counter[str] = field(default_factory=Counter)
    trace: list[Step] = field(default_factory=list)


class World:
    """Call `run` once."""

    def __init__(self, plan: Plan, ground: Ground) -> None:
        self.plan = plan
        self.rng = random.Random(f"run {plan.seed}")
        self.settings = settings(words_first=plan.words_first)
        self.inputs, self.fingerprint = inputs(), fingerprint()
        self.disk, self.qdrant, self.oracle = ground.disk, ground.qdrant, ground.oracle
        self.redis = Redis()
        self.scheduler = Scheduler(self.rng)
        self.network = Network(self.scheduler, self.rng)
        self.network.traps = [replace(trap) for trap in plan.traps]
        self.network.on_trap = self._trapped
        self.network.on_kill = self.killed
        self.disk.on_change = self._noted(self.oracle.stored)
        self.disk.on_refusal = self.oracle.refused
        self.qdrant.on_change = self._noted(self.oracle.indexed)
        self.oracle.on_live = self._went_live
        self.oracle.term_of_caller = self._term_of_caller
        self.indexers = [IndexerSite(self, f"indexer-{n}") for n in range(plan.indexers)]
        self.gateways = [GatewaySite(self, f"gateway-{n}") for n in range(plan.gateways)]
        self.embedders = [EmbedderSite(self, f"embedder-{n}") for n in range(plan.embedders)]
        self.mended = False
        self.requests = 0
        #: Generations that were built by a leader when it resigned.
        self.handed_on: set[int] = set()
        self._failure = ""
        #: Events that are not over: a client waits for its answer, an operator for his.
        self.under_way = 0
        self._ground_process = Process("world", 0.0, spared=True)

    @property
    def sites(self) -> list[Site]:
        return [*self.indexers, *self.gateways, *self.embedders]

    def run(self) -> Outcome:
        collected = gc.isenabled()
        gc.disable()
        with (
            simulated(self.scheduler, self.rng),
            patch.object(redis_library.Redis, "from_url", self._connect),
            patch.object(applier, "StepPlanner", partial(WatchedPlanner, self.oracle.reach)),
        ):
            try:
                self._run()
            except Violation as violation:
                self._failure = self._failure or str(violation)
            finally:
                self.scheduler.close()
                if collected:
                    gc.enable()
        return Outcome(
            self.plan,
            self._failure,
            self.scheduler.steps,
            self.scheduler.now,
            self.oracle.reached,
            self.network.trace,
        )

    def _run(self) -> None:
        for site in self.sites:
            self.restart(site, self.rng.uniform(0, 0.5))
        for happening in self.plan.happenings:
            self.later(happening.at, partial(self._perform, happening))
        self.scheduler.run(self._end_of_faults(), self._has_failed)
        self._mend()
        self.scheduler.run(self.scheduler.now + PATIENCE_SECONDS, self._is_over)
        if not self._failure and (why := unconverged(self)):
            self.violated(f"{PATIENCE_SECONDS:.0f} s after the last fault: {why}")

    def _perform(self, happening: Happening) -> None:
        self.under_way += 1
        try:
            perform(self, happening)
        finally:
            self.under_way -= 1

    def _end_of_faults(self) -> float:
        """Some time after the last event: what it brings about may spring a trap."""
        last = max((each.at for each in self.plan.happenings), default=0.0)
        return last + (SETTLING_SECONDS if self.plan.traps else 0.1)

    def later(self, seconds: float, work: Callable[[], object]) -> None:
        """In a thread that nothing kills."""

        def wait() -> None:
            self.scheduler.sleep(seconds)
            work()

        self.scheduler.spawn(self._ground_process, "later", wait)

    def restart(self, site: Site, seconds: float) -> None:
        self.later(seconds, lambda: None if site.process.alive else site.start())

    def violated(self, why: str) -> None:
        self._failure = self._failure or why

    def _noted(self, check: Callable[[str, str], None]) -> Callable[[str, str], None]:
        """A violation is noted where it occurs: product code may survive the exception."""

        def checked(verb: str, what: str) -> None:
            try:
                check(verb, what)
            except Violation as violation:
                self.violated(str(violation))
                raise

        return checked

    def killed(self, process: Process) -> None:
        """A process is about to be killed: it will be started again."""
        site = next(each for each in self.sites if each.process is process)
        self.network.note("dies", process=process.name)
        if isinstance(site, IndexerSite) and site.believes_to_lead:
            self._note_crash(site)
        self.restart(site, self.rng.uniform(0.1, 3.0) * RESTART_SECONDS)

    def die(self, why: str) -> None:
        """The process that runs is killed by what it does."""
        process = self.scheduler.process
        assert process is not None
        self.oracle.reach(why)
        self.kill(process)

    def kill(self, process: Process) -> None:
        if process.alive:
            self.killed(process)
            self.scheduler.kill(process)

    def crashed(self, site: Site, error: Exception) -> None:
        """A thread of it ended by an exception: the process ends, as the product's does."""
        if isinstance(error, Violation):
            self.violated(str(error))
        else:
            self.network.note(f"crashes: {error!r}"[:200])
            self.oracle.reach("a process ends by an exception")
        self.kill(site.process)

    def ended(self, site: IndexerSite) -> None:
        """It lost, or resigned."""
        if site.election.lost:
            self.oracle.reach("a deposed leader ends")
        self.kill(site.process)

    def led(self, site: IndexerSite) -> None:
        self.network.note(f"leads term {site.election.term}")
        self.oracle.floor = max(self.oracle.floor, site.election.floor)
        if sum(each.believes_to_lead for each in self.indexers) > 1:
            self.oracle.reach("two leaders at once")

    def is_alive(self, named: str) -> bool:
        name, _, life = named.rpartition("/")
        return any(
            each.name == name and each.process.alive and str(each.lives) == life
            for each in self.indexers
        )

    def leaders(self) -> list[IndexerSite]:
        """Those that believe it, the newest first."""
        found = [each for each in self.indexers if each.believes_to_lead]
        return sorted(found, key=lambda each: -each.election.term)

    def tell(self, topic: str, seconds: float) -> None:
        """Wakes whoever listens."""
        if seconds:
            self.later(seconds, lambda: self.tell(topic, 0.0))
            return
        for leader in self.leaders():
            leader.indexer.wake.notify()
        if topic in TOPICS:
            for gateway in self.gateways:
                gateway.wake()

    def publish(self, *, poor: bool) -> Snapshot:
        store = open_store(self.disk, self.network)
        newest = Snapshots(store).publish(
            snapshot_folder(), step=self.requests, fingerprint=self.fingerprint, vector_size=2
        )
        if poor:
            self.oracle.poor.add(newest.number)
        self.tell("snapshot", 0.0)
        return newest

    def _mend(self) -> None:
        """From now on nothing goes wrong any more."""
        self.mended = True
        self.network.traps.clear()
        self.network.outages.clear()
        for site in self.sites:
            site.process.paused_until = 0.0
        self.network.note("[all is mended]", process="world")

    def _has_failed(self) -> bool:
        return bool(self._failure)

    def _is_over(self) -> bool:
        return self._has_failed() or not unconverged(self)

    def _connect(self, url: str, **_: object) -> Client:
        return Client(self.redis, self.network)

    def _site_of_caller(self) -> Site | None:
        process = self.scheduler.process
        return next((each for each in self.sites if each.process is process), None)

    def _term_of_caller(self) -> int | None:
        site = self._site_of_caller()
        return site.election.term if isinstance(site, IndexerSite) else None

    def _trapped(self, trap: Trap, process: Process, path: str) -> None:
        if trap.act in (Act.LOSE, Act.LOSE_AND_RETRY):
            self.oracle.reach(f"the answer to a {trap.kind} is lost")
        site = self._site_of_caller()
        if trap.kind == "commit" and isinstance(site, IndexerSite):
            term = site.election.term

            def look() -> None:
                if self.oracle.term > term:
                    self.oracle.reach("a leader is deposed in its commit")

            if trap.act in (Act.PAUSE_BEFORE, Act.SLOW_BEFORE):
                self.later(trap.seconds - 1e-3, look)

    def _went_live(self, number: int) -> None:
        if number in self.handed_on:
            self.oracle.reach("a build ends well though its leader resigned")

    def _note_crash(self, site: IndexerSite) -> None:
        build = site.indexer.memory.build
        if build is not None:
            self.oracle.reach(f"a leader dies {phase_of(build)}")

    def note_resignation(self, site: IndexerSite) -> None:
        build = site.indexer.memory.build
        if build is not None:
            self.handed_on.add(build.number)


def phase_of(build: Build) -> str:
    if build.verdict is not None:
        return "about to commit"
    if build.replicating:
        return "following writes"
    if build.optimised_at is not None:
        return "loaded"
    if build.prepared:
        return "loading"
    return "embedding"


@cache
def ground_of(beginning: Beginning) -> Ground:
    """Made by the product itself, with nothing going wrong."""
    if beginning is Beginning.NOTHING:
        return Ground.empty()
    happenings = [Happening(0.0, Event.PUBLISH, 0.0, 0.0)]
    happenings += [
        Happening(0.1 + 0.1 * n, Event.WRITE, n / len(DOCUMENTS), 0.0)
        for n in range(len(DOCUMENTS) - 1)
    ]
    if beginning is Beginning.RETAINED:
        # The write comes when the second index is live.
        happenings.append(Happening(7.0, Event.PUBLISH, 0.0, 0.0))
        happenings.append(Happening(20.0, Event.WRITE, 0.0, 0.0))
    plan = Plan(str(beginning), Beginning.NOTHING, 1, 1, 1, True, 0.05, tuple(happenings), ())
    ground = Ground.empty()
    outcome = World(plan, ground).run()
    assert not outcome.failure, outcome.failure
    # Its leader has ended for certain: the next one leads at once.
    Leaders(open_store(ground.disk, Network(Scheduler(random.Random(0)), random.Random(0)))).end(1)
    return ground


def run(plan: Plan) -> Outcome:
    """A pure function of the plan."""
    return World(plan, ground_of(plan.beginning).copy()).run()

"""Every call that leaves a simulated process: how long it takes, and what goes wrong with it.

A call is late, fails, or succeeds while its answer is lost; the process that makes it is paused,
or killed, before or after it took effect; or it takes effect when its process is long dead.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from bench.simulation.scheduler import Process, Scheduler

T = TypeVar("T")
#: Share of calls during which others run; the rest take no time.
SWITCHES = 0.3
LATENCY_SECONDS = 0.01
#: How long a caller waits for somebody who does not answer.
TIMEOUT_SECONDS = 0.2


class Service(StrEnum):
    STORE = "store"
    QDRANT = "qdrant"
    REDIS = "redis"


class Act(StrEnum):
    """What happens at a call."""

    FAIL = "fails"
    LOSE = "succeeds, its answer is lost"
    LOSE_AND_RETRY = "succeeds, its answer is lost, and the client sends it again"
    SLOW_BEFORE = "is slow to arrive"
    SLOW_AFTER = "is slow to be answered"
    PAUSE_BEFORE = "its process is paused before it"
    PAUSE_AFTER = "its process is paused after it"
    KILL_BEFORE = "its process is killed before it"
    KILL_AFTER = "its process is killed after it"
    KILL_LATE = "its process is killed, and it takes effect later"


@dataclass(slots=True)
class Trap:
    """What happens at the `nth` call of a kind from now on; `seconds` is how long it takes."""

    kind: str
    nth: int
    act: Act
    seconds: float

    def __str__(self) -> str:
        return f"call {self.nth} of {self.kind} {self.act} ({self.seconds:.1f} s)"


@dataclass(frozen=True, slots=True)
class Step:
    """A change that somebody made, for the trace of a failure."""

    at: float
    process: str
    what: str
    path: str

    def __str__(self) -> str:
        return f"{self.at:9.3f}  {self.process:<12} {self.what:<14} {self.path}"


@dataclass(frozen=True, slots=True)
class Outage:
    """A service does not answer a process (empty: anybody) until then."""

    service: Service
    process: str
    until: float


class Network:
    """Between processes and services. `on_kill` is called with a process before it is killed."""

    def __init__(self, scheduler: Scheduler, rng: random.Random) -> None:
        self.scheduler = scheduler
        self.traps: list[Trap] = []
        self.outages: list[Outage] = []
        self.trace: list[Step] = []
        #: Called with what was sprung, and the process, before it has its effect.
        self.on_trap: Callable[[Trap, Process, str], None] = lambda trap, process, path: None
        self.on_kill: Callable[[Process], None] = lambda process: None
        self._rng = rng

    def note(self, what: str, path: str = "", process: str = "") -> None:
        mine = self.scheduler.process
        name = process or (mine.name if mine else "-")
        self.trace.append(Step(self.scheduler.now, name, what, path))

    def call(
        self,
        service: Service,
        kind: str,
        path: str,
        effect: Callable[[], T],
        *,
        changes: bool = False,
        failure: Callable[[str], Exception] = OSError,
        again: Callable[[], Exception] | None = None,
        atomic: bool = False,
    ) -> T:
        """Performs a call of the process that runs.

        :param kind: what traps are set for.
        :param failure: the error of a call that was not answered.
        :param again: the error of one that was sent again by the client itself, having succeeded.
        :param atomic: nobody else runs meanwhile, as the caller holds a real lock.
        """
        scheduler = self.scheduler
        process = scheduler.process
        if process is None or process.spared:
            return effect()
        if self.outages and self._is_away(service, process):
            if not atomic:
                scheduler.sleep(TIMEOUT_SECONDS)
            raise failure(f"{service} does not answer")
        if self.traps and (trap := self._sprung(kind)) is not None:
            self.on_trap(trap, process, path)
            self.note(f"[{trap.act}]", path)
            return self._spring(trap, process, effect, failure, again)
        if not atomic and self._rng.random() < SWITCHES:
            scheduler.sleep(self._rng.expovariate(1 / LATENCY_SECONDS))
        elif not process.alive:
            scheduler.sleep(0.0)
        found = effect()
        if changes:
            self.note(kind, path)
            if self._rng.random() < SWITCHES:
                scheduler.sleep(self._rng.expovariate(1 / LATENCY_SECONDS))
        return found

    def _is_away(self, service: Service, process: Process) -> bool:
        now = self.scheduler.now
        self.outages = [each for each in self.outages if each.until > now]
        return any(
            each.service is service and each.process in ("", process.name) for each in self.outages
        )

    def _sprung(self, kind: str) -> Trap | None:
        for trap in self.traps:
            if trap.kind == kind:
                trap.nth -= 1
                if trap.nth <= 0:
                    self.traps.remove(trap)
                    return trap
        return None

    def _spring(
        self,
        trap: Trap,
        process: Process,
        effect: Callable[[], T],
        failure: Callable[[str], Exception],
        again: Callable[[], Exception] | None,
    ) -> T:
        scheduler = self.scheduler
        match trap.act:
            case Act.FAIL:
                raise failure("it failed")
            case Act.LOSE | Act.LOSE_AND_RETRY:
                effect()
                scheduler.sleep(TIMEOUT_SECONDS)
                if trap.act is Act.LOSE_AND_RETRY and again is not None:
                    raise again()
                raise failure("the answer was lost")
            case Act.SLOW_BEFORE:
                scheduler.sleep(trap.seconds)
                return effect()
            case Act.SLOW_AFTER:
                found = effect()
                scheduler.sleep(trap.seconds)
                return found
            case Act.PAUSE_BEFORE:
                self._pause(process, trap.seconds)
                return effect()
            case Act.PAUSE_AFTER:
                found = effect()
                self._pause(process, trap.seconds)
                return found
            case Act.KILL_LATE:
                self._later(effect, trap.seconds)
            case Act.KILL_AFTER:
                effect()
            case Act.KILL_BEFORE:
                pass
        self.on_kill(process)
        scheduler.kill(process)
        raise AssertionError("the thread ends")

    def _pause(self, process: Process, seconds: float) -> None:
        process.paused_until = self.scheduler.now + seconds
        self.scheduler.sleep(0.0)

    def _later(self, effect: Callable[[], object], seconds: float) -> None:
        """As if the request had been on its way all the while."""

        def arrive() -> None:
            self.scheduler.sleep(seconds)
            try:
                effect()
            except Exception:
                return
            self.note("[arrives]")

        on_its_way = Process("on its way", self.scheduler.now, spared=True)
        self.scheduler.spawn(on_its_way, "arrives", arrive)

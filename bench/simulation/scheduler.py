"""Runs the threads of simulated processes, one at a time, in an order that follows from a seed.

A thread is a greenlet: product code runs in it unchanged, and is left at every call that leaves its
process (store, Qdrant, Redis) and wherever it waits. Time passes only while all of them wait.
"""

from __future__ import annotations

import heapq
import math
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

T = TypeVar("T")
#: Unix time at which every simulation begins.
EPOCH = 1_800_000_000.0


class Killed(GreenletExit):  # type: ignore[misc]
    """Ends the threads of a process; none of what they do afterwards has an effect."""


@dataclass(slots=True, eq=False)
class Process:
    """What is killed and paused as a whole. `booted` is the zero of its own monotonic clock, `skew`
    what its wall clock is wrong by, both in seconds."""

    name: str
    booted: float
    skew: float = 0.0
    alive: bool = True
    paused_until: float = 0.0
    #: Nothing goes wrong with what it calls.
    spared: bool = False
    threads: list[Thread] = field(default_factory=list)


class Thread:
    """A greenlet of a process; `ticket` tells which of its wake-ups counts."""

    __slots__ = ("greenlet", "name", "process", "ticket")

    def __init__(
        self, process: Process, name: str, body: Callable[[], object], parent: greenlet
    ) -> None:
        self.process = process
        self.name = name
        self.greenlet = greenlet(body, parent)
        self.ticket = 0


class Scheduler:
    """One a simulation. `current` is the thread that runs; None: the simulation itself."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0.0
        self.current: Thread | None = None
        self.steps = 0
        self._rng = rng
        self._due: list[tuple[float, float, int, Thread, int]] = []
        self._pushed = 0
        self._hub = getcurrent()
        #: Of the present `run`.
        self._until = 0.0
        self._stop: Callable[[], bool] = lambda: False
        self._stopped = False

    @property
    def process(self) -> Process | None:
        return self.current.process if self.current else None

    def monotonic(self) -> float:
        """By the clock of the process that runs, pauses included."""
        process = self.process
        return self.now - process.booted if process else self.now

    def wall(self) -> float:
        """Unix time as the process that runs believes."""
        process = self.process
        return EPOCH + self.now + (process.skew if process else 0.0)

    def spawn(self, process: Process, name: str, body: Callable[[], object]) -> Thread:
        """A thread that begins at once."""
        thread = Thread(process, name, body, self._hub)
        process.threads.append(thread)
        self._wake(thread, self.now)
        return thread

    def sleep(self, seconds: float) -> None:
        """Lets others run; the thread that called goes on after so many seconds at the earliest."""
        thread = self.current
        assert thread is not None, "only a thread sleeps"
        if not thread.process.alive:
            raise Killed
        at = self.now + seconds
        if self._is_alone(thread, at):
            return
        self._wake(thread, at)
        self._hub.switch()
        if not thread.process.alive:
            raise Killed

    def _is_alone(self, thread: Thread, at: float) -> bool:
        """Whether nothing is due before the thread that runs goes on; then it is that time."""
        if at > self._until or at == math.inf or (self._due and self._due[0][0] <= at):
            return False
        if thread.process.paused_until > at:
            return False
        if at > self.now:
            self.now = at
            if self._stop():
                self._stopped = True
                return False
        thread.ticket += 1
        self.steps += 1
        return True

    def wake(self, thread: Thread) -> None:
        """Ends the sleep of a thread."""
        self._wake(thread, self.now)

    def kill(self, process: Process) -> None:
        """Ends a process at this very point, its own threads' last handlers without effect."""
        process.alive = False
        running = self.current
        for thread in process.threads:
            thread.ticket += 1
            if thread is not running and thread.greenlet:
                self._end(thread)
        process.threads = [running] if running in process.threads else []
        if running is not None and running.process is process:
            raise Killed

    def run(self, until: float, stop: Callable[[], bool] = lambda: False) -> None:
        """Until a time, or a condition that is asked for whenever time has passed."""
        self._until, self._stop, self._stopped = until, stop, False
        while not self._stopped and self._due and self._due[0][0] <= until:
            at, _, _, thread, ticket = heapq.heappop(self._due)
            if ticket != thread.ticket or not thread.process.alive:
                continue
            if (paused := thread.process.paused_until) > max(at, self.now):
                self._push(thread, paused)
                continue
            if at > self.now:
                self.now = at
                if stop():
                    self._push(thread, at)
                    return
            self.steps += 1
            self._switch(thread)
        if not self._stopped and until < math.inf:
            self.now = max(self.now, until)

    def close(self) -> None:
        """Ends every thread."""
        threads = {entry[3] for entry in self._due}
        for process in {thread.process for thread in threads}:
            self.kill(process)
        self._due.clear()

    def _switch(self, thread: Thread) -> None:
        self.current = thread
        try:
            thread.greenlet.switch()
        finally:
            self.current = None

    def _end(self, thread: Thread) -> None:
        before, self.current = self.current, thread
        parent, thread.greenlet.parent = thread.greenlet.parent, getcurrent()
        try:
            thread.greenlet.throw(Killed)
        finally:
            self.current = before
            if thread.greenlet:
                thread.greenlet.parent = parent

    def _wake(self, thread: Thread, at: float) -> None:
        thread.ticket += 1
        self._push(thread, at)

    def _push(self, thread: Thread, at: float) -> None:
        self._pushed += 1
        order = self._rng.random()
        heapq.heappush(self._due, (at, order, self._pushed, thread, thread.ticket))


class Condition(threading.Condition):
    """A condition with a lock of its own, as product code knows it, for simulated threads."""

    def __init__(self, scheduler: Scheduler) -> None:
        # Not the base's: it would take over the methods of a real lock.
        self._scheduler = scheduler
        self._owner: Thread | None = None
        self._depth = 0
        self._lock_waiters: list[Thread] = []
        self._news_waiters: list[Thread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler, me = self._scheduler, self._scheduler.current
        until = math.inf if timeout < 0 else scheduler.now + timeout
        while self._owner is not None and self._owner is not me and self._owner.process.alive:
            if not blocking or scheduler.now >= until or me is None:
                return False
            self._lock_waiters.append(me)
            scheduler.sleep(until - scheduler.now)
            if me in self._lock_waiters:
                self._lock_waiters.remove(me)
        self._owner, self._depth = me, self._depth + 1 if self._owner is me else 1
        return True

    def release(self) -> None:
        self._depth -= 1
        if self._depth <= 0:
            self._owner = None
            self._wake_all(self._lock_waiters)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def wait(self, timeout: float | None = None) -> bool:
        scheduler, me = self._scheduler, self._scheduler.current
        assert me is not None, "only a thread waits"
        depth, self._depth, self._owner = self._depth, 0, None
        self._wake_all(self._lock_waiters)
        self._news_waiters.append(me)
        scheduler.sleep(math.inf if timeout is None else timeout)
        told = me not in self._news_waiters
        if not told:
            self._news_waiters.remove(me)
        self.acquire()
        self._depth = depth
        return told

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        until = math.inf if timeout is None else self._scheduler.now + timeout
        while not (found := predicate()):
            if self._scheduler.now >= until:
                break
            self.wait(until - self._scheduler.now)
        return found

    def notify(self, n: int = 1) -> None:
        told, self._news_waiters = self._news_waiters[:n], self._news_waiters[n:]
        self._wake_all(told)

    def notify_all(self) -> None:
        self._wake_all(self._news_waiters)

    def _wake_all(self, threads: list[Thread]) -> None:
        waiting: Iterable[Thread] = list(threads)
        threads.clear()
        for thread in waiting:
            self._scheduler.wake(thread)

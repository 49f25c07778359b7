from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry

from realm.errors import NotFound
from services.indexer.metrics import IndexerMetrics
from services.indexer.wake import PollingThread, WakeSignal


def test_a_ring_before_the_wait_is_heard() -> None:
    wake = WakeSignal()
    heard = wake.count
    wake.notify()
    assert wake.wait(heard, 60.0) == heard + 1


def test_every_sleeper_wakes() -> None:
    wake = WakeSignal()
    woken = threading.Barrier(3, timeout=20)

    def sleep() -> None:
        wake.wait(0, 60.0)
        woken.wait()

    threads = [threading.Thread(target=sleep) for _ in range(2)]
    for thread in threads:
        thread.start()
    wake.notify()
    woken.wait()
    for thread in threads:
        thread.join(timeout=20)


def test_without_a_ring_the_pause_ends_the_wait() -> None:
    wake = WakeSignal()
    assert wake.wait(wake.count, 0.01) == 0


class Waits(WakeSignal):
    """Sleeps no time, and remembers for how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, seen: int, seconds: float) -> int:
        self.seconds.append(seconds)
        return self.count


def test_pauses_are_long_while_nothing_is_under_way() -> None:
    outcomes: list[float | Exception | None] = [None, 0.0, NotFound("gone"), 2.0, None]
    pauses = [30.0, 30.0]

    def tick() -> float | None:
        outcome = outcomes.pop(0)
        if not outcomes:
            thread.stop()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    wake = Waits()
    metrics = IndexerMetrics(CollectorRegistry())
    thread = PollingThread("tested", tick, wake, 1.0, pauses.pop, metrics)
    thread.start()
    thread.join(timeout=30)
    assert wake.seconds == [30.0, 0.0, 1.0, 2.0, 30.0]

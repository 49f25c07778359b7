from __future__ import annotations

import threading

from services.indexer.wake import WakeSignal


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

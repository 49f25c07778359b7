from __future__ import annotations

import threading

from services.indexer.wake import Bell


def test_a_ring_before_the_wait_is_heard() -> None:
    bell = Bell()
    heard = bell.rings
    bell.ring()
    assert bell.wait(heard, 60.0) == heard + 1


def test_every_sleeper_wakes() -> None:
    bell = Bell()
    woken = threading.Barrier(3, timeout=20)

    def sleep() -> None:
        bell.wait(0, 60.0)
        woken.wait()

    threads = [threading.Thread(target=sleep) for _ in range(2)]
    for thread in threads:
        thread.start()
    bell.ring()
    woken.wait()
    for thread in threads:
        thread.join(timeout=20)


def test_without_a_ring_the_pause_ends_the_wait() -> None:
    bell = Bell()
    assert bell.wait(bell.rings, 0.01) == 0

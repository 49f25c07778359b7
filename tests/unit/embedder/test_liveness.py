"""The heartbeat file, the drain, and what ends a task between two batches."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from realm.errors import DependencyUnavailable
from services.embedder.liveness import IDLE_BEAT_SECONDS, Interrupted, Liveness, NoLongerNeeded


def grow_old(file: Path) -> None:
    os.utime(file, (0, 0))


def is_old(file: Path) -> bool:
    return file.stat().st_mtime == 0


def test_an_idle_process_beats_by_itself_and_a_task_that_hangs_does_not(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    liveness = Liveness(str(file))
    grow_old(file)
    deadline = time.monotonic() + 20 * IDLE_BEAT_SECONDS
    while is_old(file) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_old(file)
    with liveness.busy():
        grow_old(file)
        time.sleep(1.5 * IDLE_BEAT_SECONDS)
        assert is_old(file)
        liveness.checker(lambda: True)()
        assert not is_old(file)
    liveness.close()


def test_a_second_signal_does_not_move_the_drain_deadline() -> None:
    liveness = Liveness(check_seconds=0)
    check = liveness.checker(lambda: True)
    check()
    assert not liveness.draining
    liveness.drain(60)
    liveness.drain(0)
    assert liveness.draining
    check()


def test_a_task_is_interrupted_when_the_drain_is_over() -> None:
    liveness = Liveness()
    liveness.drain(0)
    with pytest.raises(Interrupted):
        liveness.checker(lambda: True)()


def test_a_task_ends_when_it_is_no_longer_wanted_but_not_while_the_store_is_unavailable() -> None:
    answers: list[bool | DependencyUnavailable] = [True, DependencyUnavailable("away"), False]

    def is_wanted() -> bool:
        answer = answers.pop(0)
        if isinstance(answer, DependencyUnavailable):
            raise answer
        return answer

    check = Liveness(check_seconds=0).checker(is_wanted)
    check()
    check()
    with pytest.raises(NoLongerNeeded):
        check()


def test_the_store_is_asked_no_more_often_than_set() -> None:
    check = Liveness(check_seconds=3600).checker(lambda: False)
    for _ in range(100):
        check()

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from realm.errors import DependencyUnavailable
from services.embedder.liveness import (
    IDLE_BEAT_SECONDS,
    Drain,
    Heartbeat,
    Interrupted,
    NoLongerNeeded,
    Watch,
)


def grow_old(file: Path) -> None:
    os.utime(file, (0, 0))


def is_old(file: Path) -> bool:
    return file.stat().st_mtime == 0


def test_idle_process_beats_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    heartbeat = Heartbeat(str(file))
    grow_old(file)
    deadline = time.monotonic() + 20 * IDLE_BEAT_SECONDS
    while is_old(file) and time.monotonic() < deadline:
        time.sleep(0.02)
    heartbeat.close()
    assert not is_old(file)


def test_task_that_hangs_lets_the_file_grow_old(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    heartbeat = Heartbeat(str(file))
    with heartbeat.busy():
        grow_old(file)
        time.sleep(1.5 * IDLE_BEAT_SECONDS)
        assert is_old(file)
        heartbeat.beat()
        assert not is_old(file)
    heartbeat.close()


def test_no_file_is_no_fault() -> None:
    heartbeat = Heartbeat("")
    heartbeat.beat()
    heartbeat.close()


def test_drain_is_over_after_its_time_and_only_once_begun() -> None:
    drain = Drain()
    assert not drain.begun
    assert not drain.over
    drain.begin(60)
    assert drain.begun
    assert not drain.over
    drain.begin(0)  # a second signal does not move the deadline
    assert not drain.over
    soon = Drain()
    soon.begin(0)
    assert soon.over


def watch(drain: Drain, wanted: list[bool], every: float) -> Watch:
    """`wanted` gives one answer a look."""
    return Watch(Heartbeat(""), drain, lambda: wanted.pop(0), every)


def test_watch_lets_wanted_work_go_on() -> None:
    wanted = [True, True]
    looking = watch(Drain(), wanted, every=0)
    looking()
    looking()
    assert wanted == []


def test_watch_ends_unwanted_work() -> None:
    with pytest.raises(NoLongerNeeded):
        watch(Drain(), [False], every=0)()


def test_watch_looks_no_more_often_than_told() -> None:
    wanted = [False]
    looking = watch(Drain(), wanted, every=3600)
    for _ in range(100):
        looking()
    assert wanted == [False]


def test_watch_ends_work_when_the_process_must() -> None:
    drain = Drain()
    drain.begin(0)
    with pytest.raises(Interrupted):
        watch(drain, [True], every=0)()


def test_store_that_does_not_answer_ends_no_work() -> None:
    def away() -> bool:
        raise DependencyUnavailable("away")

    Watch(Heartbeat(""), Drain(), away, 0)()


def test_each_look_is_a_sign_of_life(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    heartbeat = Heartbeat(str(file))
    with heartbeat.busy():
        grow_old(file)
        Watch(heartbeat, Drain(), lambda: True, 0)()
        assert not is_old(file)
    heartbeat.close()

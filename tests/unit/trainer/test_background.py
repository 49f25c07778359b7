"""One piece of work at a time, its result taken once."""

from __future__ import annotations

import threading

import pytest

from realm.errors import DependencyUnavailable
from services.trainer.background import Background

LIMIT = 10.0


def test_result_is_taken_once() -> None:
    background: Background[int] = Background("test")
    assert background.start(lambda: 7)
    assert background.wait(LIMIT) == 7
    assert background.take() is None
    assert not background.busy


def test_work_is_never_queued() -> None:
    gate = threading.Event()
    background: Background[bool] = Background("test")
    assert background.start(lambda: gate.wait(LIMIT))
    assert not background.start(lambda: True)
    assert background.take() is None
    gate.set()
    assert background.wait(LIMIT) is True
    assert background.start(lambda: True)


def test_an_error_reaches_whoever_takes_the_result() -> None:
    def fail() -> None:
        raise DependencyUnavailable("the store is away")

    background: Background[None] = Background("test")
    background.start(fail)
    with pytest.raises(DependencyUnavailable, match="away"):
        background.wait(LIMIT)
    assert not background.busy


def test_waiting_for_unfinished_work_ends() -> None:
    gate = threading.Event()
    background: Background[bool] = Background("test")
    background.start(lambda: gate.wait(LIMIT))
    assert background.wait(0.01) is None
    assert background.busy
    gate.set()
    assert background.wait(LIMIT) is True

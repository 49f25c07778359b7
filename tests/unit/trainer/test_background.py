"""One background job at a time, its result taken once; when something is due."""

from __future__ import annotations

import threading

import pytest

from realm.errors import DependencyUnavailable
from services.trainer.context import Background, Cadence

LIMIT = 10.0


def test_a_result_is_taken_once_and_jobs_are_never_queued() -> None:
    gate = threading.Event()
    background: Background[bool] = Background("test")
    assert background.start(lambda: gate.wait(LIMIT))
    assert not background.start(lambda: True)
    assert background.take() is background.take(0.01) is None
    assert background.busy
    gate.set()
    assert background.take(LIMIT) is True
    assert background.take() is None
    assert not background.busy
    assert background.start(lambda: True)


def test_an_error_is_raised_where_the_result_is_taken() -> None:
    def fail() -> None:
        raise DependencyUnavailable("the store is away")

    background: Background[None] = Background("test")
    background.start(fail)
    with pytest.raises(DependencyUnavailable, match="away"):
        background.take(LIMIT)
    assert not background.busy


def test_cadence_needs_both_steps_and_seconds() -> None:
    cadence = Cadence(every_steps=10, min_seconds=60, last_step=0, last_time=0)
    assert not cadence.due(9, 100)
    assert not cadence.due(10, 59)
    assert cadence.due(10, 60)
    cadence.happened(10, 60)
    assert not cadence.due(20, 119)
    assert cadence.due(27, 121)

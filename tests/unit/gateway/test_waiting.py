"""Ending tasks, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway import waiting
from services.gateway.waiting import end_tasks


async def loses(cancellations: int) -> None:
    """Ends at the next cancellation after so many."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if cancellations == 0:
                raise
            cancellations -= 1


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    tasks = [asyncio.create_task(loses(number)) for number in range(3)]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_a_task_that_loses_them_all_delays_no_stop_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "CANCEL_SECONDS", 0.3)
    stubborn = asyncio.create_task(loses(100))
    await asyncio.sleep(0)
    await end_tasks([stubborn])
    assert not stubborn.done()
    while not stubborn.done():
        stubborn.cancel()
        await asyncio.sleep(0)

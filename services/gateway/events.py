"""Waiting for an event, with a limit."""

from __future__ import annotations

import asyncio


async def happens(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether the event is set within `seconds`; None waits for ever.

    `asyncio.wait_for` would not do: up to Python 3.11 it swallows a cancellation that comes
    together with the event, and a task so cancelled never ends.
    """
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

"""A load ends at once with whatever else fails."""

from __future__ import annotations

import asyncio

import pytest

from bench.load.session import unless_one_fails


async def value(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def failure() -> None:
    await asyncio.sleep(0)
    raise ValueError("it fails")


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_the_result_is_the_work_s_own() -> None:
    other, ended = asyncio.create_task(for_ever()), asyncio.create_task(value(1))
    assert await unless_one_fails(asyncio.create_task(value(2)), [other, ended]) == 2
    other.cancel()


async def test_what_fails_beside_it_ends_it() -> None:
    work = asyncio.create_task(for_ever())
    with pytest.raises(ValueError, match="it fails"):
        await unless_one_fails(work, [asyncio.create_task(failure())])
    work.cancel()


async def test_its_own_failure_is_raised() -> None:
    other = asyncio.create_task(for_ever())
    with pytest.raises(ValueError, match="it fails"):
        await unless_one_fails(asyncio.create_task(failure()), [other])
    other.cancel()

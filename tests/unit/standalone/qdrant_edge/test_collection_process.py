from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from realm.errors import DependencyUnavailable, NotReady
from services.standalone.qdrant_edge.collection_process import Keeper
from services.standalone.qdrant_edge.framing import RemoteFault
from services.standalone.qdrant_edge.protocol import collections, points

LIMIT = 30.0


def config(size: int = 4) -> collections.CreateCollection:
    created = collections.CreateCollection(collection_name="passages-1")
    vector = created.vectors_config.params_map.map["dense"]
    vector.size, vector.distance = size, collections.Dot
    return created


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncIterator[Keeper]:
    kept = Keeper(tmp_path, config())
    await kept.start()
    yield kept
    await kept.stop()


def child(keeper: Keeper) -> int:
    assert keeper._process is not None
    return keeper._process.pid


async def count(keeper: Keeper) -> int:
    async with asyncio.timeout(LIMIT):
        reply = await keeper.call("Count", b"")
    return points.CountResponse.FromString(reply).result.count


async def upsert(keeper: Keeper, number: int) -> None:
    vector = points.Vector(dense=points.DenseVector(data=[1.0] * 4))
    named = points.NamedVectors(vectors={"dense": vector})
    point = points.PointStruct(vectors=points.Vectors(vectors=named))
    point.id.num = number
    await keeper.call("Upsert", points.UpsertPoints(points=[point]).SerializeToString())


async def test_a_request_in_a_dying_child_is_unavailable_and_the_next_is_served(
    keeper: Keeper,
) -> None:
    await upsert(keeper, 1)
    os.kill(child(keeper), signal.SIGSTOP)  # holds the request, so that it is there at the kill
    request = asyncio.create_task(count(keeper))
    while not keeper._pending:
        await asyncio.sleep(0)
    os.kill(child(keeper), signal.SIGKILL)
    with pytest.raises(DependencyUnavailable, match="passages-1"):
        await request
    assert await count(keeper) == 1


async def test_a_deadline_ends_the_wait_for_a_frozen_child_and_leaves_it_usable(
    keeper: Keeper,
) -> None:
    os.kill(child(keeper), signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await keeper.call("Count", b"")
    os.kill(child(keeper), signal.SIGCONT)
    assert await count(keeper) == 0  # the late answer to the first is not taken for this one's


async def test_a_refusal_of_the_child_keeps_its_code(keeper: Keeper) -> None:
    with pytest.raises(RemoteFault) as caught:
        await keeper.call("Juggle", b"")
    assert caught.value.code == "INVALID_ARGUMENT"


async def test_a_configuration_that_does_not_fit_leaves_the_former_in_force(
    keeper: Keeper,
) -> None:
    await upsert(keeper, 1)
    with pytest.raises(RemoteFault, match="incompatible"):
        await keeper.reconfigure(config(size=5))
    await upsert(keeper, 2)
    assert await count(keeper) == 2


async def test_a_folder_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    holder, waiting = Keeper(tmp_path, config()), Keeper(tmp_path, config())
    await holder.start()
    await waiting.start_or_retry()
    with pytest.raises(NotReady, match="cannot be served"):
        await waiting.call("Count", b"")
    await holder.stop()
    async with asyncio.timeout(LIMIT):
        while waiting._fault is not None:
            await asyncio.sleep(0.05)
    assert await count(waiting) == 0
    await waiting.stop()


async def test_after_the_end_nothing_is_left(keeper: Keeper) -> None:
    process = child(keeper)
    await keeper.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    with pytest.raises(NotReady):
        await keeper.call("Count", b"")

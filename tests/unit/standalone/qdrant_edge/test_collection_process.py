from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from realm.errors import DependencyUnavailable, NotReady
from services.standalone.qdrant_edge.collection_process import CollectionProcess
from services.standalone.qdrant_edge.framing import RemoteFault
from services.standalone.qdrant_edge.protocol import collections, points

LIMIT = 30.0


def config(size: int = 4) -> collections.CreateCollection:
    created = collections.CreateCollection(collection_name="passages-1")
    vector = created.vectors_config.params_map.map["dense"]
    vector.size, vector.distance = size, collections.Dot
    return created


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[CollectionProcess]:
    kept = CollectionProcess(tmp_path, config())
    await kept.start()
    yield kept
    await kept.stop()


def child(process: CollectionProcess) -> int:
    assert process._process is not None
    return process._process.pid


async def count(process: CollectionProcess) -> int:
    async with asyncio.timeout(LIMIT):
        reply = await process.call("Count", b"")
    return points.CountResponse.FromString(reply).result.count


async def upsert(process: CollectionProcess, number: int) -> None:
    vector = points.Vector(dense=points.DenseVector(data=[1.0] * 4))
    named = points.NamedVectors(vectors={"dense": vector})
    point = points.PointStruct(vectors=points.Vectors(vectors=named))
    point.id.num = number
    await process.call("Upsert", points.UpsertPoints(points=[point]).SerializeToString())


async def test_a_request_in_a_dying_child_is_unavailable_and_the_next_is_served(
    process: CollectionProcess,
) -> None:
    await upsert(process, 1)
    os.kill(child(process), signal.SIGSTOP)  # holds the request, so that it is there at the kill
    request = asyncio.create_task(count(process))
    while not process._pending:
        await asyncio.sleep(0)
    os.kill(child(process), signal.SIGKILL)
    with pytest.raises(DependencyUnavailable, match="passages-1"):
        await request
    assert await count(process) == 1


async def test_a_deadline_ends_the_wait_for_a_frozen_child_and_leaves_it_usable(
    process: CollectionProcess,
) -> None:
    os.kill(child(process), signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await process.call("Count", b"")
    os.kill(child(process), signal.SIGCONT)
    assert await count(process) == 0  # the late answer to the first is not taken for this one's


async def test_a_refusal_of_the_child_keeps_its_code(process: CollectionProcess) -> None:
    with pytest.raises(RemoteFault) as caught:
        await process.call("Juggle", b"")
    assert caught.value.code == "INVALID_ARGUMENT"


async def test_a_folder_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    holder, waiting = CollectionProcess(tmp_path, config()), CollectionProcess(tmp_path, config())
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


async def test_after_the_end_nothing_is_left(process: CollectionProcess) -> None:
    pid = child(process)
    await process.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(NotReady):
        await process.call("Count", b"")

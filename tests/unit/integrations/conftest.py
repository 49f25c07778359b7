"""A gateway with real models that framework's retrievers ask, in a loop and thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from realm.records.store import Store
from tests.unit.gateway.site import PATIENCE, MemorySearch, World, running

#: Before the framework is imported: no test tells anybody that it ran.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a gateway that answers with generation 1: five documents `g1-0` … of two tenants."""
    listening: Future[str] = Future()
    stop, loop = asyncio.Event(), asyncio.new_event_loop()
    folder: Path = tmp_path_factory.mktemp("gateway")

    async def serve() -> None:
        world = World(Store.open(str(folder / "store")), MemorySearch(), folder)
        first = world.go_live(seed=1, step=10)
        async with running(world) as site:
            await site.serves(first)
            listening.set_result(f"127.0.0.1:{site.gateway.port}")
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        yield listening.result(PATIENCE)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
        loop.close()

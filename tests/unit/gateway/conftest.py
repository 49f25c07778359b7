from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from realm.records.generation import Generation
from realm.records.store import Store
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import MemorySearch, Site, World, running


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Nothing is live yet."""
    return World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)


@pytest.fixture
def first(world: World) -> Generation:
    return world.go_live(seed=1, step=10)


@pytest.fixture
async def site(world: World, first: Generation) -> AsyncIterator[Site]:
    """A gateway that answers with the first generation."""
    async with running(world) as found:
        await found.serves(first)
        yield found


@pytest.fixture
async def indexer() -> AsyncIterator[tuple[MemoryIndexer, str]]:
    """An indexer in memory, and its address."""
    async with running_indexer() as found:
        yield found

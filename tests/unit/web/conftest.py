from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from realm.records.store import Store
from tests.unit.gateway.indexer import running_indexer
from tests.unit.gateway.site import MemorySearch, World, running
from tests.unit.web.place import Place, serving


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A web service before a gateway that answers, whose indexer is a dictionary."""
    world = World(Store.open(str(tmp_path / "store")), MemorySearch(), tmp_path)
    first = world.go_live(seed=1, step=10)
    async with running_indexer() as (indexer, address), running(world, indexer_url=address) as site:
        await site.serves(first)
        async with serving(f"127.0.0.1:{site.gateway.port}") as (service, http, registry):
            yield Place(service, http, registry, site, indexer)

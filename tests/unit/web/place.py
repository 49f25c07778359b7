"""A web service in this process, with a real gateway behind it, and an HTTP client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry

from realm.records.store import Store
from realm.settings import load_settings
from services.web.server import WebService, run
from tests.unit.gateway.indexer import MemoryIndexer, running_indexer
from tests.unit.gateway.site import PATIENCE, MemorySearch, Site, World, running


@dataclass
class Place:
    """What a test has: the service, a client of it, and what is behind it."""

    service: WebService
    http: httpx2.AsyncClient
    registry: CollectorRegistry
    site: Site
    indexer: MemoryIndexer

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@asynccontextmanager
async def standing(folder: Path, **changes: Any) -> AsyncIterator[Place]:
    """A web service before a gateway that answers, whose indexer is a dictionary.

    :param changes: of the web service's settings.
    """
    world = World(Store.open(str(folder / "store")), MemorySearch(), folder)
    first = world.go_live(seed=1, step=10)
    async with running_indexer() as (indexer, address), running(world, indexer_url=address) as site:
        await site.serves(first)
        gateway = f"127.0.0.1:{site.gateway.port}"
        async with serving(gateway, **changes) as (service, http, registry):
            yield Place(service, http, registry, site, indexer)


@asynccontextmanager
async def serving(
    gateway: str, **changes: Any
) -> AsyncIterator[tuple[WebService, httpx2.AsyncClient, CollectorRegistry]]:
    given = {"web_listen": "127.0.0.1:0", "gateway_address": gateway, "drain_seconds": 2}
    registry = CollectorRegistry()
    service = WebService(load_settings(**{**given, **changes}), registry)
    stop = asyncio.Event()
    running = asyncio.create_task(run(service, stop))
    address = f"http://127.0.0.1:{service.port}"
    try:
        async with httpx2.AsyncClient(
            base_url=address, timeout=PATIENCE, trust_env=False
        ) as client:
            yield service, client, registry
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE):
            await running


@dataclass(frozen=True)
class Event:
    name: str
    data: Any


async def events(response: httpx2.Response) -> AsyncGenerator[Event]:
    """Server-sent events; comments are left out."""
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield Event(name, json.loads(value))

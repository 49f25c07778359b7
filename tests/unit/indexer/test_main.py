"""The process reports whether it leads, stands by, or must end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from prometheus_client import CollectorRegistry

from realm.records.leaders import Leaders, Term
from realm.records.store import Store
from realm.settings import Settings, load_settings
from services.indexer.__main__ import LeaderLifecycle
from services.indexer.indexer import Indexer
from services.indexer.leader.election import Election
from services.indexer.metrics import IndexerMetrics

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NOWHERE = "127.0.0.1:1"
ENDED = "control/leader/000000000001.ended"


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    return load_settings(
        store_url=str(tmp_path / "store"),
        redis_url=f"redis://{NOWHERE}/0",
        qdrant_url=f"http://{NOWHERE}",
        lease_seconds=1.0,
    )


def make_lifecycle(settings: Settings) -> tuple[LeaderLifecycle, Indexer]:
    store = Store.open(settings.addresses.store_url)
    election = Election(settings, store)
    indexer = Indexer(settings, store, IndexerMetrics(CollectorRegistry()), election)
    return LeaderLifecycle(indexer, election), indexer


async def health_of(lifecycle: LeaderLifecycle) -> dict[str, int]:
    found = {}
    for name in ("", "able", "live"):
        request = health_pb2.HealthCheckRequest(service=name)
        found[name] = (await lifecycle.health.Check(request, None)).status
    return found


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_process_whose_thread_dies_serves_nothing_and_must_end(site: Settings) -> None:
    lifecycle, indexer = make_lifecycle(site)
    await lifecycle.start()
    try:
        assert await health_of(lifecycle) == {"": SERVING, "able": SERVING, "live": SERVING}
        assert indexer.dead_threads() == []
        indexer.writer._waiting.put(None)  # type: ignore[arg-type]
        async with asyncio.timeout(30):
            why = await lifecycle.run(asyncio.Event())
        assert "writer" in why
        assert await health_of(lifecycle) == {
            "": NOT_SERVING,
            "able": NOT_SERVING,
            "live": NOT_SERVING,
        }
    finally:
        await asyncio.to_thread(lifecycle.stop, resign=False)
    assert not Store.open(site.addresses.store_url).exists(ENDED)


async def test_a_standby_is_able_and_ends_when_asked(site: Settings) -> None:
    leaders = Leaders(Store.open(site.addresses.store_url))
    leaders.claim(Term(1, "elsewhere/x/1/1", "there:1", 0.0, 0))
    lifecycle, _ = make_lifecycle(site)
    await lifecycle.start()
    assert await health_of(lifecycle) == {"": NOT_SERVING, "able": SERVING, "live": SERVING}
    assert "there:1" in lifecycle.not_leader().message
    asked = asyncio.Event()
    asked.set()
    assert await lifecycle.run(asked) == ""
    await asyncio.to_thread(lifecycle.stop, resign=True)
    assert not Store.open(site.addresses.store_url).exists(ENDED)

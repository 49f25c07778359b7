"""The pipeline without a server finds and reads what a gateway does."""

from __future__ import annotations

import pytest

from bench.serve.pipeline import Pipeline, Turn
from realm.client import AsyncClient
from realm.records.generation import Generation
from tests.unit.gateway.conftest import first, site, world
from tests.unit.gateway.site import Site

__all__ = ["first", "site", "world"]

QUESTIONS = ["who built the tower", "a river in Paris"]


@pytest.mark.parametrize("kind", ["search", "answer"])
async def test_it_takes_turns(site: Site, kind: str) -> None:
    serving = site.gateway.slot.current
    assert serving is not None
    pipeline = Pipeline(serving, site.world.search, (512, 2048))
    outcome = await pipeline.run(Turn(kind, clients=2, seconds=0.2, limit=3), QUESTIONS)
    assert outcome.latencies
    assert outcome.rate > 0
    assert outcome.processor > 0


async def test_it_finds_and_reads_as_the_gateway(site: Site, first: Generation) -> None:
    serving = site.gateway.slot.current
    assert serving is not None
    pipeline = Pipeline(serving, site.world.search, (512, 2048))
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client, pipeline:
        for question in QUESTIONS:
            found = await pipeline.search(question, 3)
            served = await client.search(question, limit=3)
            ids = [each.passage.passage_id for each in served.passages]
            assert [hit.passage.passage_id for hit, _ in found] == ids
            read = await pipeline.read(question, found)
            answered = await client.ask(question, passages=3)
            assert [each.text for each in read.given] == [each.text for each in answered.answers]

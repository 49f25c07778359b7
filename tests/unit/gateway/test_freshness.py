"""What answers say of how current they are: the corpus version that they hold never goes back, and
is not claimed of an index that is damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from realm.errors import FailedPrecondition, NotReady, Overloaded
from realm.records.controls import record_damage
from realm.records.generation import Generation
from realm.records.store import Store
from realm.v1 import index_pb2, retrieval_pb2
from tests.unit.gateway.site import PATIENCE, Site, World, failure, running, until

QUESTION = "who built the tower"
REQUEST = retrieval_pb2.RetrievePassagesRequest(question=QUESTION)


async def test_a_store_that_is_away_takes_no_answer_away(world: World, first: Generation) -> None:
    """For longer than a collection is kept: nobody knows that it is not live any more."""
    async with running(world, retirement_seconds=0.2) as site:
        await site.serves(first)
        watcher = site.gateway.watcher
        with away(world.store):
            await until(lambda: watcher.store_age > 1.0, "it is long away")
            assert site.gateway.ready
            response = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
            said = response.index_version
            assert said.generation == first.number
            assert said.since_store_seen.ToTimedelta().total_seconds() > 1.0
            request = index_pb2.GetIndexStatusRequest()
            status = (await site.index.GetIndexStatus(request, timeout=PATIENCE)).status
            assert status.live.generation == first.number
            assert status.live.since_store_seen.ToTimedelta().total_seconds() > 1.0
            exported = site.gateway.metrics.registry.get_sample_value(
                "realm_gateway_store_age_seconds"
            )
            assert exported is not None
            assert exported > 1.0
        await until(lambda: watcher.store_age < 1.0, "it is read again")
        await site.serves(world.go_live(seed=2, step=20))


@contextmanager
def away(store: Store) -> Iterator[None]:
    """Whoever reads it hears that it cannot be read."""
    assert store.root is not None
    aside = store.root.with_name("aside")
    store.root.rename(aside)
    store.root.symlink_to(store.root)
    try:
        yield
    finally:
        store.root.unlink()
        aside.rename(store.root)


async def test_a_request_waits_for_its_own_write(site: Site, first: Generation) -> None:
    site.world.write(7)
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    call = site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    await until(lambda: site.value("realm_gateway_waiting_requests") == 1)
    site.world.generations.record_applied(first.number, 6)
    await until(lambda: site.gateway.slot.freshness(1).corpus_version == 6)  # type: ignore[union-attr]
    assert not call.done()
    site.world.generations.record_applied(first.number, 7)
    assert (await call).index_version.corpus_version == 7


async def test_an_answer_claims_no_more_than_the_copy_that_was_searched_proves(
    site: Site,
) -> None:
    """The index holds version 7, and the peer of Qdrant that answers has got as far as 6."""
    world = site.world
    live = world.build(world.publish(seed=2, step=20), marked=True)
    world.commit(live)
    world.write(7)
    world.generations.record_applied(live.number, 7)
    await until(lambda: site.gateway.slot.applied(live.number) == 7)
    world.search.proved = 6
    response = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
    assert response.passages
    assert response.index_version.corpus_version == 6
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    error = await failure(site.retrieval.RetrievePassages(request, timeout=PATIENCE / 10))
    assert isinstance(error, NotReady)
    assert error.details["corpus_version"] == "6"
    call = site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    before = world.search.calls
    await until(lambda: world.search.calls > before)
    world.search.proved = 7
    assert (await call).index_version.corpus_version == 7


async def test_who_waits_for_a_version_takes_nobody_s_place(site: Site, first: Generation) -> None:
    site.world.write(7)
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    waiting = [site.retrieval.RetrievePassages(request, timeout=4 * PATIENCE) for _ in range(256)]
    await until(lambda: site.value("realm_gateway_waiting_requests") == 256)
    assert site.value("realm_gateway_inflight_requests") == 0
    assert (await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)).passages
    for call in waiting:
        call.cancel()
    await until(lambda: site.value("realm_gateway_waiting_requests") == 0)


async def test_all_who_waited_for_a_version_are_answered_in_turn(
    world: World, first: Generation
) -> None:
    """They come at once when it is there: more than may queue."""
    async with running(world, search_queue_seconds=1e-6) as site:
        await site.serves(first)
        world.write(7)
        request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
        waiting = [
            site.retrieval.RetrievePassages(request, timeout=4 * PATIENCE) for _ in range(99)
        ]
        await until(lambda: site.value("realm_gateway_waiting_requests") == 99)
        world.generations.record_applied(first.number, 7)
        answered = await asyncio.gather(*waiting)
        assert {each.index_version.corpus_version for each in answered} == {7}
        assert site.value("realm_gateway_refused_total") == 0


async def test_more_may_not_wait_than_the_setting_says(world: World, first: Generation) -> None:
    async with running(world, max_waiting=1) as site:
        await site.serves(first)
        world.write(7)
        request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
        waiting = site.retrieval.RetrievePassages(request, timeout=PATIENCE)
        await until(lambda: site.value("realm_gateway_waiting_requests") == 1)
        error = await failure(site.retrieval.RetrievePassages(request, timeout=PATIENCE))
        assert isinstance(error, Overloaded)
        waiting.cancel()


async def test_a_version_that_nobody_wrote_is_refused_at_once(site: Site) -> None:
    """A write that comes later is none of what the caller was told of."""
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=2**63)
    error = await failure(site.retrieval.RetrievePassages(request, timeout=4 * PATIENCE))
    assert isinstance(error, FailedPrecondition)
    site.world.write(3)
    error = await failure(site.retrieval.RetrievePassages(request, timeout=4 * PATIENCE))
    assert error.details["corpus_version"] == "3"


async def test_while_the_store_is_away_whoever_asks_for_a_version_waits(site: Site) -> None:
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    with away(site.world.store):
        error = await failure(site.retrieval.RetrievePassages(request, timeout=PATIENCE / 10))
    assert isinstance(error, NotReady)


async def test_a_write_not_applied_in_time_names_the_applied_version(site: Site) -> None:
    site.world.write(7)
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    error = await failure(site.retrieval.RetrievePassages(request, timeout=PATIENCE / 10))
    assert isinstance(error, NotReady)
    assert error.details["corpus_version"] == "1"
    # Asked once: the channel's own retries would have turned it into a bare deadline.
    assert "version 7" in error.message


def at_version(site: Site, generation: Generation) -> int:
    freshness = site.gateway.slot.freshness(generation.number)
    return freshness.corpus_version if freshness else 0


async def applied(site: Site, generation: Generation, version: int) -> None:
    site.world.generations.record_applied(generation.number, version)
    await until(lambda: at_version(site, generation) == version, "the newest write")


async def test_no_flip_takes_an_acknowledged_write_back(site: Site, first: Generation) -> None:
    """However long the new one is behind, as long as the old one may be searched."""
    world = site.world
    await applied(site, first, 7)
    second = world.build(world.publish(seed=2, step=20), corpus_version=6)
    world.commit(second)
    await asyncio.sleep(0.5)
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    response = await site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    assert response.index_version.generation == first.number
    world.generations.record_applied(second.number, 7)
    await site.serves(second)
    assert at_version(site, second) == 7


async def test_a_generation_behind_is_skipped_for_its_successor(
    site: Site, first: Generation
) -> None:
    world = site.world
    await applied(site, first, 7)
    behind = world.build(world.publish(seed=2, step=20), corpus_version=6)
    world.commit(behind)
    third = world.build(world.publish(seed=3, step=30), corpus_version=7)
    world.commit(third)
    await site.serves(third)


async def test_a_generation_about_to_be_deleted_is_left_for_one_behind(
    world: World, first: Generation
) -> None:
    async with running(world, retirement_seconds=1.0) as site:
        await site.serves(first)
        await applied(site, first, 7)
        second = world.build(world.publish(seed=2, step=20), corpus_version=6)
        world.commit(second)
        await site.serves(second)


async def test_a_damaged_index_claims_no_version_until_a_whole_one_is_live(
    site: Site, first: Generation
) -> None:
    world = site.world
    world.write(7)
    await applied(site, first, 7)
    record_damage(world.store, first.number, "40 points are missing")
    await until(lambda: site.gateway.slot.freshness(first.number).damaged)  # type: ignore[union-attr]
    version = (await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)).index_version
    assert (version.damaged, version.corpus_version) == (True, 0)
    own_write = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=7)
    assert isinstance(
        await failure(site.retrieval.RetrievePassages(own_write, timeout=PATIENCE / 10)), NotReady
    )
    # What takes its place need not have caught up with what nobody can be sure to find.
    second = world.build(world.snapshots.get(first.snapshot), corpus_version=6)
    world.commit(second)
    await site.serves(second)
    version = (await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)).index_version
    assert (version.damaged, version.corpus_version) == (False, 6)


async def test_damage_found_during_a_search_is_reported_in_its_answer(
    site: Site, first: Generation
) -> None:
    world = site.world
    world.write(1)
    world.search.gate = asyncio.Event()
    own_write = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, at_least_version=1)
    plain = site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
    # It waits for a whole one, which does not come, as long as it may.
    asked = site.retrieval.RetrievePassages(own_write, timeout=PATIENCE / 4)
    await until(lambda: world.search.waiting == 2)
    record_damage(world.store, first.number, "40 points are missing")
    await until(lambda: site.gateway.slot.freshness(first.number).damaged)  # type: ignore[union-attr]
    world.search.gate.set()
    version = (await plain).index_version
    assert (version.damaged, version.corpus_version) == (True, 0)
    assert isinstance(await failure(asked), NotReady)

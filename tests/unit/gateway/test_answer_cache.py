"""Earlier answers: given again only where the same would be found, within their bytes."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm.filters import where
from realm.search.vector_index import IndexedPassage
from realm.v1 import answer_pb2, retrieval_pb2
from services.gateway.answer_cache import AnswerCache, Epoch, size_of
from services.gateway.answering import STORE_UNSEEN_SECONDS
from tests.unit.gateway.site import PATIENCE, Site, World, running, until

QUESTION = "who built the tower"
BYTES = 1 << 20
EPOCHS = st.builds(Epoch, st.integers(1, 3), st.integers(1, 3))


def search(**fields: Any) -> retrieval_pb2.RetrievePassagesRequest:
    return retrieval_pb2.RetrievePassagesRequest(**{"question": QUESTION, **fields})


async def sought(site: Site, **fields: Any) -> retrieval_pb2.RetrievePassagesResponse:
    request = search(**fields)
    response: retrieval_pb2.RetrievePassagesResponse
    response = await site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    return response


async def cached(site: Site, **fields: Any) -> bool:
    return bool((await sought(site, **fields)).cached)


def found(response: Any) -> Any:
    """Without what may differ between two looks at the same index."""
    response.cached = False
    response.index_version.ClearField("since_store_seen")
    return response


@given(
    st.lists(st.tuples(EPOCHS, st.integers(0, 5), st.integers(1, 60)), max_size=60),
    st.integers(0, 100),
)
def test_what_is_found_was_kept_in_this_epoch_and_all_fits(
    steps: list[tuple[Epoch, int, int]], most: int
) -> None:
    cache: AnswerCache[tuple[Epoch, int]] = AnswerCache(most)
    for epoch, key, size in steps:
        value = cache.find(epoch, key)
        assert value is None or value == (epoch, key)
        if value is None:
            cache.keep(epoch, key, (epoch, key), size)
            assert (cache.find(epoch, key) is not None) == (size <= most)
        assert 0 <= cache.used <= most


def test_an_answer_of_an_epoch_that_is_over_is_not_kept() -> None:
    cache: AnswerCache[str] = AnswerCache(100)
    cache.find(Epoch(1, 1), "q")
    cache.find(Epoch(1, 2), "q")  # a write came while the first was being answered
    cache.keep(Epoch(1, 1), "q", "old", 1)
    assert cache.find(Epoch(1, 2), "q") is None
    assert cache.find(Epoch(1, 1), "q") is None


def test_the_least_recently_used_goes_first() -> None:
    cache: AnswerCache[int] = AnswerCache(3)
    epoch = Epoch(1, 1)
    cache.find(epoch, 0)
    for key in range(3):
        cache.keep(epoch, key, key, 1)
    cache.find(epoch, 0)
    cache.keep(epoch, 3, 3, 1)
    assert [cache.find(epoch, key) for key in range(4)] == [0, None, 2, 3]


@pytest.mark.parametrize("characters", [10, 1_000])
def test_memory_stays_within_what_is_said(characters: int) -> None:
    def passage(number: int) -> IndexedPassage:
        text = f"{number:0{characters}d}"
        return IndexedPassage("p", "d", 1, 0, f"title {number}", text, 0, 1, {f"k{number}": text})

    cache: AnswerCache[list[IndexedPassage]] = AnswerCache(BYTES)
    epoch = Epoch(1, 1)
    cache.find(epoch, ())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(2_000):
            key = (f"question {number}", 5)
            value = [passage(number * 5 + each) for each in range(5)]
            cache.keep(epoch, key, value, size_of(key, value))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert cache.used > 0.9 * BYTES
    assert taken <= BYTES


async def test_the_same_request_is_answered_once_an_epoch(world: World) -> None:
    generation = world.go_live(seed=1, step=10)
    async with running(world, answer_cache_bytes=BYTES) as site:
        await site.serves(generation)
        first, again = await sought(site), await sought(site)
        assert (first.cached, again.cached) == (False, True)
        assert found(first) == found(again)
        assert world.search.calls == 1
        for different in (
            {"limit": 2},
            {"retrieval": "RETRIEVAL_BM25"},
            {"rerank": 2},
            {"least_score": 0.0},
            {"filter": where("tenant=acme")},
            {"filter": where("tenant=globex")},
            {"question": QUESTION + "?"},
            {"no_cache": True},
        ):
            assert not await cached(site, **different)
            assert await cached(site, **different) == ("no_cache" not in different)
        ask = answer_pb2.AnswerQuestionRequest(question=QUESTION)
        answers = [await site.answers.AnswerQuestion(ask, timeout=PATIENCE) for _ in range(2)]
        assert [each.cached for each in answers] == [False, True]
        assert found(answers[0]) == found(answers[1])
        hits = site.value("realm_gateway_answer_cache_lookups_total", outcome="hit")
        misses = site.value("realm_gateway_answer_cache_lookups_total", outcome="miss")
        assert (hits, misses) == (9.0, 9.0)
        assert 0 < (site.value("realm_gateway_answer_cache_bytes") or 0.0) <= BYTES


async def test_a_write_and_a_swap_empty_it(world: World) -> None:
    first = world.go_live(seed=1, step=10)
    async with running(world, answer_cache_bytes=BYTES) as site:
        await site.serves(first)
        assert not await cached(site)
        assert await cached(site)
        world.generations.record_applied(first.number, 2)
        await until(lambda: site.gateway.slot.applied() == 2, "the write")
        after = await sought(site)
        assert not after.cached
        assert after.index_version.corpus_version == 2
        assert await cached(site)
        second = world.go_live(seed=2, step=20, corpus_version=2)
        await site.serves(second)
        swapped = await sought(site)
        assert not swapped.cached
        assert swapped.index_version.generation == second.number
        assert {each.passage.metadata["prefix"] for each in swapped.passages} == {"g2"}


async def test_nothing_is_given_again_while_the_store_is_unseen_or_the_index_damaged(
    world: World,
) -> None:
    generation = world.go_live(seed=1, step=10)
    async with running(world, answer_cache_bytes=BYTES, live_poll_seconds=60) as site:
        await site.serves(generation)
        await sought(site)
        assert await cached(site)
        slot = site.gateway.slot
        known = slot.freshness(generation.number)
        assert known is not None
        long_ago = time.monotonic() - STORE_UNSEEN_SECONDS - 1
        for worse in (replace(known, seen_at=long_ago), replace(known, damaged=True)):
            slot.update({generation.number: worse})
            assert not await cached(site)
            slot.update({generation.number: replace(known, seen_at=time.monotonic())})
            assert await cached(site)


async def test_without_the_setting_nothing_is_kept(site: Site) -> None:
    await sought(site)
    assert not await cached(site)
    assert site.world.search.calls == 2

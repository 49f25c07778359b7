"""A generation that a request names is asked whole, beside what is live; two sets of models are
in memory at the most."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from realm.errors import DeadlinePassed, NotFound, NotReady
from realm.records.generation import Generation
from realm.records.states import State
from realm.v1 import answer_pb2, retrieval_pb2
from services.gateway import serving
from services.gateway.loading import Loader
from services.gateway.serving import Serving
from tests.unit.gateway.site import PATIENCE, Site, World, failure, running, until
from tests.unit.gateway.test_flips import QUESTION, check_binding, expected_scores, own_answers


def go_live(world: World, seed: int, step: int) -> Generation:
    """As a leader does: what was live is retained, what was retained is retired."""
    before = world.generations.live()
    made = world.go_live(seed, step)
    for number in world.generations.numbers():
        if world.generations.state(number) is State.RETAINED:
            world.generations.record(number, State.RETIRED)
    if before is not None:
        world.generations.record(before.generation, State.RETAINED)
    world.generations.record(made.number, State.LIVE)
    return made


@pytest.fixture
def first(world: World) -> Generation:
    return go_live(world, seed=1, step=10)


@pytest.fixture
def second(world: World, first: Generation) -> Generation:
    return go_live(world, seed=2, step=20)


@pytest.fixture
async def site(world: World, second: Generation) -> AsyncIterator[Site]:
    """The second generation is live, the first one retained."""
    async with running(world, answer_cache_bytes=1 << 20) as found:
        await found.serves(second)
        yield found


def search(site: Site, generation: int = 0, timeout: float = PATIENCE, **more: Any) -> Any:
    request = retrieval_pb2.RetrievePassagesRequest(
        question=QUESTION, generation=generation, **more
    )
    return site.retrieval.RetrievePassages(request, timeout=timeout)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Serving]]:
    """Every set of models that is loaded."""
    found: list[weakref.ref[Serving]] = []
    load = Loader.load

    async def noted(self: Loader, *given: Any) -> Serving:
        made = await load(self, *given)
        found.append(weakref.ref(made))
        return made

    monkeypatch.setattr(Loader, "load", noted)
    return found


def in_memory(loaded: list[weakref.ref[Serving]]) -> int:
    gc.collect()
    return sum(each() is not None for each in loaded)


async def test_the_retained_one_answers_by_its_own_encoder_index_and_reader(
    site: Site, first: Generation, second: Generation
) -> None:
    world = site.world
    scores = {each.number: expected_scores(world, each) for each in (first, second)}
    asked = [search(site, number) for number in (1, 2, 0, 1, 2, 0)]
    assert [check_binding(each, scores) for each in await asyncio.gather(*asked)] == [
        *(1, 2, 2, 1, 2, 2)
    ]
    for generation in (first, second):
        answered = await site.answers.AnswerQuestion(
            answer_pb2.AnswerQuestionRequest(
                question=QUESTION, answers=3, generation=generation.number
            ),
            timeout=PATIENCE,
        )
        assert answered.index_version.generation == generation.number
        dtype = site.gateway.slot.current.dtype  # type: ignore[union-attr]
        own = own_answers(world, generation, dtype)
        assert [each.text for each in answered.answers] == [each.text for each in own]
        for left, right in zip(answered.answers, own, strict=True):
            assert left.probability == pytest.approx(right.probability, abs=1e-3)
    assert site.serving == second.number


async def test_what_is_neither_live_nor_retained_is_not_found_and_what_is_is_named(
    site: Site, first: Generation, second: Generation
) -> None:
    third = go_live(site.world, seed=3, step=30)
    await site.serves(third)
    for number in (first.number, 99):
        error = await failure(search(site, number))
        assert isinstance(error, NotFound)
        assert error.details["available"] == "3,2"
        assert "ask 3 or 2" in error.message
    found = await search(site, second.number)
    assert found.index_version.generation == second.number


async def test_two_sets_of_models_are_in_memory_at_most_whatever_becomes_live(
    world: World, second: Generation, loaded: list[weakref.ref[Serving]]
) -> None:
    most = 0
    async with running(world) as site:
        await site.serves(second)
        for flip in range(3, 7):
            for number in (flip - 1, flip - 2, flip - 1, flip - 2):
                found = await search(site, number)
                assert found.index_version.generation == number
                most = max(most, in_memory(loaded))
            await site.serves(go_live(world, seed=flip, step=10 * flip))
            most = max(most, in_memory(loaded))
    assert most == 2


async def test_it_is_loaded_once_for_all_who_ask_and_for_who_gave_up(
    site: Site, first: Generation, loaded: list[weakref.ref[Serving]]
) -> None:
    async with site.gateway._named._loader.turn:  # as while something becomes live
        error = await failure(search(site, first.number, timeout=0.3))
        assert isinstance(error, DeadlinePassed)
        asked = [asyncio.ensure_future(search(site, first.number)) for _ in range(5)]
        await until(lambda: site.gateway._answering._waiting.taken_now == 5)
        assert (await search(site)).index_version.generation == 2
    found = await asyncio.gather(*asked)
    assert {each.index_version.generation for each in found} == {first.number}
    assert len(loaded) == 1


async def test_a_flip_while_it_answers_takes_nothing_from_the_answer(
    site: Site, first: Generation, second: Generation
) -> None:
    world = site.world
    scores = {each.number: expected_scores(world, each) for each in (first, second)}
    await search(site, first.number)
    world.search.gate = asyncio.Event()
    asked = asyncio.ensure_future(search(site, first.number))
    await until(lambda: world.search.waiting == 1)
    await site.serves(go_live(world, seed=3, step=30))
    world.search.gate.set()
    assert check_binding(await asked, scores) == first.number


async def test_nobody_names_it_any_longer_so_its_memory_is_given_back(
    world: World,
    second: Generation,
    loaded: list[weakref.ref[Serving]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(world) as site:
        await site.serves(second)
        await search(site, 1)
        assert in_memory(loaded) == 2
        monkeypatch.setattr(serving, "OTHER_KEPT_SECONDS", 0)
        await until(lambda: in_memory(loaded) == 1, "it is forgotten")
        assert (await search(site)).index_version.generation == 2


async def test_it_waits_for_a_version_of_its_own(site: Site, first: Generation) -> None:
    world = site.world
    world.write(2)
    world.generations.record_applied(2, 2)
    await search(site, 1)  # its models take their time to load
    error = await failure(search(site, 1, at_least_version=2, timeout=2))
    assert isinstance(error, NotReady)
    assert error.details["corpus_version"] == "1"
    asked = asyncio.ensure_future(search(site, 1, at_least_version=2))
    await until(lambda: site.gateway._answering._waiting.taken_now == 1)
    world.generations.record_applied(1, 2)
    found = (await asked).index_version
    assert (found.generation, found.corpus_version) == (1, 2)


async def test_answers_kept_are_those_of_what_is_live(site: Site) -> None:
    assert not (await search(site)).cached
    assert not (await search(site, 1)).cached
    assert not (await search(site, 1)).cached
    assert (await search(site)).cached
    assert (await search(site, 2)).cached


async def test_its_collection_may_be_gone_meanwhile(site: Site, first: Generation) -> None:
    await search(site, first.number)
    del site.world.search.collections[first.collection]
    error = await failure(search(site, first.number, timeout=5))
    assert isinstance(error, NotReady)
    assert "generation 1 is gone" in error.message
    assert site.gateway.ready
    site.world.generations.record(first.number, State.RETIRED)
    error = await failure(search(site, first.number))
    assert isinstance(error, NotFound)
    assert error.details["available"] == "2"


async def test_one_of_the_same_snapshot_takes_no_memory_of_its_own(
    world: World, tmp_path: Path
) -> None:
    """As words alone, and the vectors that replace them."""
    snapshot = world.publish(seed=1, step=10)
    words = world.build(snapshot, words_alone=True)
    world.commit(words)
    world.generations.record(words.number, State.RETAINED)
    whole = world.build(snapshot)
    world.commit(whole)
    async with running(world) as site:
        await site.serves(whole)
        found = [(await search(site, number)).index_version for number in (0, words.number)]
        assert [each.words_alone for each in found] == [False, True]
        held = site.gateway.slot
        models: Callable[[Serving | None], Any] = lambda each: each and each.reader  # noqa: E731
        assert models(held.current) is models(held._other)

"""One version a request, whatever becomes live meanwhile (guarantee 4)."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from typing import Any

import numpy as np
import pytest

from realm.errors import NotReady
from realm.model.answering import answer_questions
from realm.model.answers import FoundAnswer, Reading
from realm.model.frozen_encoder import encode
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.mending import RecordMender
from realm.records.refresh_trace import RefreshTrace
from realm.v1 import answer_pb2, retrieval_pb2
from services.gateway import watcher
from tests.unit.gateway.site import (
    PATIENCE,
    STATISTICS,
    Site,
    World,
    failure,
    passages_of,
    running,
    until,
    weights_of,
)

QUESTION = "who built the tower"
REQUEST = retrieval_pb2.RetrievePassagesRequest(question=QUESTION)


def expected_scores(world: World, generation: Generation) -> dict[str, float]:
    """f(x, z) of each passage by the generation's own models."""
    model = world.models[generation.snapshot]
    query = encode(model.retriever.query, [model.inputs.query(QUESTION)], model.inputs.pad)
    passages, vectors = world.search.collections[generation.collection]
    terms = STATISTICS.question(QUESTION)
    words = np.array([terms.dot(weights_of(each)) for each in passages])
    covered = words / sum(terms.values)
    scores = model.retriever.relevance(vectors @ query[0], covered * words)
    return {each.passage_id: float(score) for each, score in zip(passages, scores, strict=True)}


def check_binding(response: Any, scores: dict[int, dict[str, float]]) -> int:
    """Every part of a response belongs to the generation that it names."""
    version = response.index_version
    assert version.snapshot == version.generation
    assert version.step == 10 * version.generation
    assert response.passages
    for each in response.passages:
        assert each.passage.metadata["prefix"] == f"g{version.generation}"
        own = scores[version.generation][each.passage.passage_id]
        assert each.score == pytest.approx(own, abs=1e-3)
    return int(version.generation)


async def test_every_response_is_of_one_generation_while_the_slot_flips(
    site: Site, first: Generation
) -> None:
    world = site.world
    second = world.build(world.publish(seed=2, step=20))
    scores = {each.number: expected_scores(world, each) for each in (first, second)}
    # The models disagree, else the test could not tell a mixture.
    query_of = [
        encode(model.retriever.query, [model.inputs.query(QUESTION)], model.inputs.pad)
        for model in world.models.values()
    ]
    assert float(query_of[0][0] @ query_of[1][0]) < 0.9
    seen: list[int] = []
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            response = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
            seen.append(check_binding(response, scores))

    async with asyncio.TaskGroup() as clients:
        for _ in range(8):
            clients.create_task(client())
        for flip in range(6):
            generation = second if flip % 2 == 0 else first
            world.commit(generation, why="rollback")
            await site.serves(generation)
            answered = len(seen)
            await until(lambda before=answered: len(seen) > before + 20)  # type: ignore[misc]
        stop.set()
    assert set(seen) == {1, 2}
    assert site.value("realm_gateway_generation_flips_total") == 7


def own_answers(world: World, generation: Generation, dtype: Any) -> list[FoundAnswer]:
    """What the generation's own reader makes of its own best passages."""
    scores = expected_scores(world, generation)
    texts = {each.passage_id: each.text for each in passages_of(f"g{generation.number}")}
    best = sorted(scores, key=lambda each: -scores[each])
    total = math.log(sum(math.exp(score) for score in scores.values()))
    reading = Reading(
        QUESTION,
        tuple(texts[each] for each in best),
        tuple(scores[each] - total for each in best),
        answers=3,
    )
    model = world.models[generation.snapshot]
    (answers,) = answer_questions(model.reader.eval(), model.inputs, [reading], dtype=dtype)
    return list(answers.found)


async def test_a_flip_is_traced_regardless_of_the_leader_s_clock(
    site: Site, first: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was live already when the gateway came is not: it takes no part in that refresh."""
    traced: list[int] = []
    monkeypatch.setattr(RefreshTrace, "on", staticmethod(lambda: True))
    monkeypatch.setattr(RefreshTrace, "flipped", lambda self, number, *_: traced.append(number))
    now = time.time()
    with monkeypatch.context() as leader:
        leader.setattr(time, "time", lambda: now - 3600.0)
        second = site.world.go_live(seed=2, step=20)
    await site.serves(second)
    assert traced == [second.number]


async def test_a_request_keeps_its_generation_until_it_ends(site: Site, first: Generation) -> None:
    world = site.world
    old = weakref.ref(site.gateway.slot.current)
    world.search.gate = asyncio.Event()
    call = site.answers.AnswerQuestion(
        answer_pb2.AnswerQuestionRequest(question=QUESTION, answers=3), timeout=PATIENCE
    )
    await until(lambda: world.search.waiting == 1)
    dtype = site.gateway.slot.current.dtype  # type: ignore[union-attr]
    second = world.go_live(seed=2, step=20)
    await site.serves(second)
    assert site.gateway.slot.pinned_generations == {first.number, second.number}
    world.search.gate.set()
    response = await call
    assert response.index_version.generation == first.number
    expected = own_answers(world, first, dtype)
    assert [each.text for each in response.answers] == [each.text for each in expected]
    for left, right in zip(response.answers, expected, strict=True):
        assert left.probability == pytest.approx(right.probability, abs=1e-3)
    assert {
        source.passage.metadata["prefix"]
        for answer in response.answers
        for source in answer.sources
    } == {"g1"}
    await until(lambda: site.gateway.slot.pinned_generations == {second.number})

    def freed() -> bool:
        gc.collect()
        return old() is None

    await until(freed, "freeing the old models")


async def test_a_request_whose_collection_is_gone_uses_the_next_generation(
    site: Site, first: Generation
) -> None:
    world = site.world
    world.search.gate = asyncio.Event()
    call = site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
    await until(lambda: world.search.waiting == 1)
    second = world.go_live(seed=2, step=20)
    await site.serves(second)
    del world.search.collections[first.collection]
    world.search.gate.set()
    response = await call
    check_binding(response, {2: expected_scores(world, second)})


async def test_a_gateway_whose_collection_is_gone_is_unready_until_it_is_back(
    site: Site, first: Generation
) -> None:
    """As when the store is away for this gateway alone, and the leader drops what was live."""
    collections = site.world.search.collections
    assert site.gateway.ready
    gone = collections.pop(first.collection)
    error = await failure(site.retrieval.RetrievePassages(REQUEST, timeout=1))
    assert isinstance(error, NotReady)
    assert "generation 1 is gone" in error.message
    await until(lambda: not site.gateway.ready, "it is unready")
    collections[first.collection] = gone
    await until(lambda: site.gateway.ready, "it is ready, though nobody asks it anything")
    second = site.world.go_live(seed=2, step=20)
    await site.serves(second)
    assert site.gateway.ready


@pytest.mark.parametrize("damage", ["flip", "lose"])
async def test_a_generation_that_fails_to_load_leaves_the_old_one_answering(
    site: Site, first: Generation, damage: str
) -> None:
    world = site.world
    snapshot = world.publish(seed=2, step=20)
    path = world.store.root / snapshot.folder / "reader.safetensors"  # type: ignore[operator]
    good = path.read_bytes()
    if damage == "flip":
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    else:
        path.unlink()
    world.commit(second := world.build(snapshot))
    await until(lambda: bool(site.value("realm_gateway_generation_load_failures_total")))
    response = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
    assert response.index_version.generation == first.number
    assert response.index_version.lag_steps == 10
    assert response.index_version.lag.ToNanoseconds() > 0
    path.write_bytes(good)
    await site.serves(second)


async def test_a_broken_generation_does_not_delay_its_successor(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "FIRST_BACKOFF_SECONDS", 600)
    monkeypatch.setattr(watcher, "LONGEST_BACKOFF_SECONDS", 600)
    world = site.world
    snapshot = world.publish(seed=2, step=20)
    (world.store.root / snapshot.folder / "reader.safetensors").unlink()  # type: ignore[operator]
    world.commit(world.build(snapshot))
    await until(lambda: bool(site.value("realm_gateway_generation_load_failures_total")))
    third = world.go_live(seed=3, step=30)
    await site.serves(third)


async def test_a_loaded_snapshot_is_not_loaded_again(site: Site, first: Generation) -> None:
    before = site.gateway.slot.current
    second = site.world.build(site.world.snapshots.get(first.snapshot))
    site.world.commit(second)
    await site.serves(second)
    after = site.gateway.slot.current
    assert before is not None
    assert after is not None
    assert after.reader is before.reader
    assert after.generation.collection == second.collection


async def test_gateway_too_far_behind_turns_unready_but_answers(
    world: World, first: Generation
) -> None:
    async with running(world, retirement_seconds=0.2) as site:
        await site.serves(first)
        assert site.gateway.watcher.ready
        snapshot = world.publish(seed=2, step=20)
        file = world.store.root / snapshot.folder / "reader.safetensors"  # type: ignore[operator]
        file.unlink()
        world.commit(world.build(snapshot))
        await until(lambda: not site.gateway.watcher.ready)
        response = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
        assert response.index_version.generation == first.number


async def test_a_leader_that_takes_over_is_no_flip(site: Site, first: Generation) -> None:
    def term() -> int:
        current = site.gateway.slot.current
        return current.entry.term if current else 0

    assert site.value("realm_gateway_generation_flips_total") == 1
    site.world.generations.fence(2, 2, "the next leader")
    await until(lambda: term() == 2)
    assert site.value("realm_gateway_generation_flips_total") == 1


@pytest.mark.parametrize("content", [b"", b'{"generation": 2'])
async def test_a_gateway_that_starts_while_what_is_live_is_damaged_goes_back_to_nothing(
    world: World, first: Generation, content: bytes
) -> None:
    """It serves once the leader has mended it; whoever serves already goes on."""
    second = world.go_live(seed=2, step=20)
    leader = Generations(world.store)
    newest = leader.live()
    assert newest is not None
    async with running(world) as serving:
        await serving.serves(second)
        path = world.store.root / f"live/{newest.sequence:08d}.json"  # type: ignore[operator]
        path.write_bytes(content)
        async with running(world) as started:
            await until(lambda: bool(started.value("realm_gateway_store_age_seconds")))
            for _ in range(20):
                await asyncio.wait_for(started.gateway.watcher._poll(), PATIENCE)
            assert started.gateway.slot.current is None
            assert serving.serving == second.number
            assert RecordMender(world.store, leader).mend()
            await started.serves(second)
            assert started.value("realm_gateway_generation_flips_total") == 1

"""What a gateway answers while the index has words and no vectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from realm.model.relevance import FIRST_WORD_WEIGHT, Relevance
from realm.records.generation import Generation
from realm.records.vectors import NO_VECTOR
from realm.search.queries import QueryMaker
from realm.v1 import answer_pb2, retrieval_pb2, types_pb2
from tests.unit.gateway.site import (
    PATIENCE,
    STATISTICS,
    Site,
    World,
    failure,
    running,
    until,
    weights_of,
)

QUESTION = "who built the tower"
REQUEST = retrieval_pb2.RetrievePassagesRequest(question=QUESTION)


@pytest.fixture
def words(world: World) -> Generation:
    made = world.build(world.publish(seed=1, step=10), words_alone=True)
    world.commit(made)
    return made


@pytest.fixture
async def site(world: World, words: Generation) -> AsyncIterator[Site]:
    async with running(world) as found:
        await found.serves(words)
        yield found


async def test_words_alone_are_ranked_by_their_part_of_f_and_the_response_says_so(
    site: Site, words: Generation
) -> None:
    found = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
    assert found.index_version.words_alone
    assert found.retrieval == types_pb2.RETRIEVAL_BM25
    terms = STATISTICS.question(QUESTION)
    passages, _ = site.world.search.collections[words.collection]
    scored = {each.passage_id: terms.dot(weights_of(each)) for each in passages}
    expected = {name: each * each / sum(terms.values) for name, each in scored.items()}
    w = site.world.models[words.snapshot].retriever.relevance.word_weight
    assert found.passages
    for each in found.passages:
        assert each.score == pytest.approx(w * expected[each.passage.passage_id], rel=1e-5)
        assert each.parts.dense == 0
        assert each.parts.words == pytest.approx(each.score)
    scores = [each.score for each in found.passages]
    assert scores == sorted(scores, reverse=True)


async def test_they_are_read_as_ever(site: Site) -> None:
    request = answer_pb2.AnswerQuestionRequest(question=QUESTION)
    answered = await site.answers.AnswerQuestion(request, timeout=PATIENCE)
    assert answered.index_version.words_alone
    (best,) = answered.answers
    assert best.sources[0].parts.words > 0


async def test_an_index_of_words_alone_lags_though_its_snapshot_is_the_newest(site: Site) -> None:
    found = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
    version = found.index_version
    assert version.lag_steps == 10, "as one that has nothing of any snapshot"
    assert version.lag.ToNanoseconds() > 0


@pytest.mark.parametrize("way", ["DENSE", "HYBRID", "RANK_FUSION"])
async def test_what_takes_vectors_is_not_ready_yet(site: Site, way: str) -> None:
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, retrieval=f"RETRIEVAL_{way}")
    error = await failure(site.retrieval.RetrievePassages(request, timeout=PATIENCE))
    assert error.reason == "NOT_READY"
    assert "bm25" in error.message


async def test_a_question_that_shares_no_word_finds_nothing(site: Site) -> None:
    request = retrieval_pb2.RetrievePassagesRequest(question="zebra")
    found = await site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    assert not found.passages
    asked = answer_pb2.AnswerQuestionRequest(question="zebra")
    assert not (await site.answers.AnswerQuestion(asked, timeout=PATIENCE)).answers


async def test_vectors_take_their_place_by_a_flip_and_no_question_fails(
    site: Site, words: Generation
) -> None:
    seen: list[bool] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            found = await site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE)
            version = found.index_version
            assert version.words_alone == (version.generation == words.number)
            assert (found.retrieval == types_pb2.RETRIEVAL_BM25) == version.words_alone
            assert len({each.passage.metadata["prefix"] for each in found.passages}) == 1
            seen.append(version.words_alone)

    async with asyncio.TaskGroup() as clients:
        for _ in range(3):
            clients.create_task(ask())
        await until(lambda: bool(seen))
        vectors = await asyncio.to_thread(
            site.world.build, site.world.snapshots.get(words.snapshot)
        )
        site.world.commit(vectors)
        await until(lambda: not seen[-1])
        stop.set()
    assert {True, False} == set(seen)


async def test_a_lost_collection_of_words_is_found_again(site: Site, words: Generation) -> None:
    search, kept = site.world.search, site.world.search.collections.pop(words.collection)
    await failure(site.retrieval.RetrievePassages(REQUEST, timeout=PATIENCE))
    await until(lambda: site.gateway.slot.lost is not None)
    search.collections[words.collection] = kept
    await until(lambda: site.gateway.slot.lost is None)


async def test_a_model_that_gives_words_no_weight_tells_passages_apart_all_the_same(
    world: World,
) -> None:
    made = world.build(world.publish(seed=1, step=10), words_alone=True)
    maker = QueryMaker.of(world.store, made, Relevance(20.0, word_weight=0.0))
    assert maker.query(QUESTION, NO_VECTOR).relevance.word_weight == FIRST_WORD_WEIGHT
    assert maker.relevance.word_weight == 0.0, "as it is for the vectors to come"

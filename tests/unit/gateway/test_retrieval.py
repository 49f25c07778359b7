"""How passages are chosen: by setting, by request, and as the generation supports it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from realm.client import AsyncClient
from realm.client.wire import from_rpc_error
from realm.errors import FailedPrecondition, InvalidInput
from realm.model.answering import answer_questions
from realm.model.answers import Reading
from realm.model.config import AnswerRules
from realm.model.cross_encoder import load_cross_encoder, pair_text
from realm.model.frozen_encoder import encode
from realm.records.generation import Generation
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index
from realm.search.exact import ExactIndex
from realm.search.queries import QueryMaker
from realm.search.vector_index import Query
from realm.text.terms import PAIR_WEIGHT
from realm.v1 import retrieval_pb2, types_pb2
from tests.tiny import eiffel_model
from tests.unit.gateway.site import PATIENCE, STATISTICS, Site, World, running, weights_of
from tests.unit.model.cross_encoders import write_cross_encoder

QUESTION = "what is built in France, rivers or a tower"
MIXED = (Retrieval.HYBRID, Retrieval.RANK_FUSION)


def question_vector(site: Site, generation: Generation) -> Vectors:
    model = site.world.models[generation.snapshot]
    vector: Vectors
    (vector,) = encode(model.retriever.query, [model.inputs.query(QUESTION)], model.inputs.pad)
    return vector


def query(site: Site, generation: Generation, way: Retrieval) -> Query:
    relevance = site.world.models[generation.snapshot].retriever.relevance
    vector = question_vector(site, generation)
    return Query(vector, STATISTICS.question(QUESTION), way, relevance)


def exact(site: Site, generation: Generation, way: Retrieval) -> list[str]:
    """Ids of the passages that exact search puts first."""
    passages, vectors = site.world.search.collections[generation.collection]
    index = ExactIndex(vectors, Bm25Index([weights_of(each) for each in passages]))
    found = index.search(query(site, generation, way), 4)
    return [passages[row].passage_id for row in found.rows]


@pytest.mark.parametrize("way", list(Retrieval))
async def test_a_request_chooses_the_way_and_scores_are_relevance(
    site: Site, first: Generation, way: Retrieval
) -> None:
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        found = await client.search(QUESTION, limit=4, retrieval=way)
        answered = await client.ask(QUESTION, passages=4, retrieval=way)
        (reply,) = [each async for each in client.ask_many([QUESTION], retrieval=way)]
    ids = [each.passage.passage_id for each in found.passages]
    assert ids == exact(site, first, way)
    assert reply.answer is not None
    for response in (found, answered, reply.answer):
        assert response.retrieval == types_pb2.Retrieval.Value(f"RETRIEVAL_{way.name}")
    passages, vectors = site.world.search.collections[first.collection]
    rows = {each.passage_id: row for row, each in enumerate(passages)}
    asked = query(site, first, way)
    dense = [asked.relevance.scale * float(vectors[rows[each]] @ asked.vector) for each in ids]
    by_words = [asked.terms.dot(weights_of(passages[rows[each]])) for each in ids]
    words = [each * each / sum(asked.terms.values) for each in by_words]
    assert asked.relevance.word_weight == 1.0
    assert any(words)
    scores = [one + other for one, other in zip(dense, words, strict=True)]
    assert [each.score for each in found.passages] == pytest.approx(scores, abs=1e-4)
    assert [each.parts.dense for each in found.passages] == pytest.approx(dense, abs=1e-4)
    assert [each.parts.words for each in found.passages] == pytest.approx(words, abs=1e-4)
    if way is Retrieval.HYBRID:
        assert scores == sorted(scores, reverse=True)
    total = sum(map(math.exp, scores))
    expected = [math.exp(score) / total for score in scores]
    assert [each.probability for each in found.passages] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("way", list(Retrieval))
async def test_the_setting_decides_if_the_request_does_not(
    world: World, first: Generation, way: Retrieval
) -> None:
    async with running(world, retrieval=way) as site:
        await site.serves(first)
        request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION, limit=4)
        found = await site.retrieval.RetrievePassages(request, timeout=PATIENCE)
        assert found.retrieval == types_pb2.Retrieval.Value(f"RETRIEVAL_{way.name}")
        assert [each.passage.passage_id for each in found.passages] == exact(site, first, way)


async def test_words_in_no_passage_find_nothing_by_bm25(site: Site) -> None:
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        assert not (await client.search("xylophone", retrieval="bm25")).passages
        assert not (await client.ask("xylophone", retrieval="bm25")).answers
        found = (await client.search("xylophone", limit=3)).passages
        assert [each.parts.words for each in found] == [0.0] * 3


async def test_an_unknown_way_of_retrieval_is_refused(site: Site) -> None:
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION)
    request.retrieval = 17  # type: ignore[assignment]
    with pytest.raises(grpc.RpcError) as caught:
        await site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "retrieval"
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        with pytest.raises(InvalidInput, match="dense, bm25, hybrid, rank_fusion"):
            await client.search(QUESTION, retrieval="sparse")


async def test_generations_of_earlier_releases_answer_as_well_as_they_can(
    site: Site, first: Generation
) -> None:
    """The first had vectors alone, those after them words that only rank."""
    current = site.gateway.slot.current
    assert current is not None
    queries = QueryMaker(current.queries.relevance, None)
    ranking = replace(current, queries=queries)
    oldest = replace(ranking, generation=replace(first, average_terms=0.0))
    assert ranking.retrieval(None, Retrieval.HYBRID) is Retrieval.RANK_FUSION
    assert oldest.retrieval(None, Retrieval.HYBRID) is Retrieval.DENSE
    for old, ways in ((oldest, (Retrieval.BM25, *MIXED)), (ranking, (Retrieval.HYBRID,))):
        assert old.retrieval(Retrieval.DENSE, Retrieval.HYBRID) is Retrieval.DENSE
        for way in ways:
            with pytest.raises(FailedPrecondition, match="built by an earlier release"):
                old.retrieval(way, Retrieval.HYBRID)
            assert current.retrieval(way, Retrieval.DENSE) is way
    vector = question_vector(site, first)
    asked = queries.query("the tower, the tower", vector, Retrieval.RANK_FUSION)
    pairs = [2 * PAIR_WEIGHT, PAIR_WEIGHT]
    assert asked.terms.values == [2.0, 2.0, *pairs], "Qdrant weighs them"
    assert asked.relevance == replace(current.queries.relevance, word_weight=0.0)


async def test_the_reader_re_ranks_the_best_and_the_others_follow(
    site: Site, first: Generation
) -> None:
    serving, model = site.gateway.slot.current, site.world.models[first.snapshot]
    assert serving is not None
    rules = AnswerRules(null=True, evidence=3.0)
    serving.reader.answers = model.reader.answers = rules
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        plain = (await client.search(QUESTION, limit=5)).passages
        found = await client.search(QUESTION, limit=5, rerank=4)
        fewer = (await client.search(QUESTION, limit=2, rerank=4)).passages
    reading = Reading(
        QUESTION,
        tuple(each.passage.text for each in plain[:4]),
        tuple(math.log(each.probability) for each in plain[:4]),
    )
    (read,) = answer_questions(model.reader.eval(), model.inputs, [reading], dtype=serving.dtype)
    scores = [one.score + 3.0 * more for one, more in zip(plain[:4], read.evidence, strict=True)]
    order = sorted(range(4), key=lambda place: -scores[place])
    assert order != [0, 1, 2, 3]
    ranked = [*(plain[place] for place in order), *plain[4:]]
    ids = [each.passage.passage_id for each in ranked]
    assert [each.passage.passage_id for each in found.passages] == ids
    assert [each.passage.passage_id for each in fewer] == ids[:2]
    for one in found.passages:
        parts = one.parts.dense + one.parts.words + one.parts.reading
        assert one.score == pytest.approx(parts, abs=1e-3)
    expected = [scores[place] for place in order]
    assert [each.score for each in found.passages[:4]] == pytest.approx(expected, abs=0.05)
    assert [each.parts.reading for each in found.passages[4:]] == [0.0]
    assert sum(each.probability for each in found.passages) == pytest.approx(1, abs=1e-5)
    assert found.no_answer_probability == pytest.approx(read.no_answer, abs=1e-2)


async def test_a_cross_encoder_of_the_snapshot_re_ranks_in_the_reader_s_place(
    site: Site, first: Generation, tmp_path: Path
) -> None:
    crossing = load_cross_encoder(write_cross_encoder(tmp_path / "x"), weight=4.0)
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        plain = (await client.search(QUESTION, limit=5)).passages
        model = replace(eiffel_model(2), cross_encoder=crossing)
        second = site.world.go_live_with(model, step=20)
        await site.serves(second)
        again = (await client.search(QUESTION, limit=5)).passages
        found = await client.search(QUESTION, limit=5, rerank=3)
        answer = await client.ask(QUESTION)
    assert [each.parts.reading for each in plain] == [0.0] * 5
    pairs = [(QUESTION, pair_text(each.passage.title, each.passage.text)) for each in again[:3]]
    serving = site.gateway.slot.current
    assert serving is not None
    logits = crossing.scores(pairs, dtype=serving.dtype)
    scores = [one.score + 4.0 * more for one, more in zip(again[:3], logits, strict=True)]
    order = sorted(range(3), key=lambda place: -scores[place])
    ranked = [*(again[place] for place in order), *again[3:]]
    assert [each.passage.passage_id for each in found.passages] == [
        each.passage.passage_id for each in ranked
    ]
    expected = [4.0 * logits[place] for place in order] + [0.0, 0.0]
    assert [each.parts.reading for each in found.passages] == pytest.approx(expected, abs=0.05)
    assert found.no_answer_probability == 0.0, "nothing was read"
    assert answer.answers, "the reader answers as ever"


@pytest.mark.parametrize("rerank", [0, 4])
async def test_what_scores_too_little_is_left_out_perhaps_everything(
    site: Site, first: Generation, rerank: int
) -> None:
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        whole = (await client.search(QUESTION, limit=4, rerank=rerank)).passages
        least = sorted(each.score for each in whole)[2]
        found = (await client.search(QUESTION, limit=4, rerank=rerank, least_score=least)).passages
        nothing = await client.search(QUESTION, rerank=rerank, least_score=1e6)
    kept = [each.passage.passage_id for each in whole if each.score >= least]
    assert [each.passage.passage_id for each in found] == kept
    assert 1 < len(kept) < 4
    assert not nothing.passages
    assert nothing.index_version.generation == first.number

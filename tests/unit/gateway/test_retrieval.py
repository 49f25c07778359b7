"""How passages are chosen: by setting, by request, and as the generation supports it."""

from __future__ import annotations

import math
from dataclasses import replace

import grpc
import pytest

from realm.client import AsyncClient
from realm.client.wire import from_rpc_error
from realm.errors import FailedPrecondition, InvalidInput
from realm.model.encoders import encode
from realm.records.generations import Generation
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index, question_weights
from realm.search.exact import ExactIndex
from realm.v1 import retrieval_pb2, types_pb2
from services.gateway.serving import Serving
from tests.unit.gateway.site import PATIENCE, Site, World, running, weights_of

QUESTION = "what is built in France, rivers or a tower"


def question_vector(site: Site, generation: Generation) -> Vectors:
    model = site.world.models[generation.snapshot]
    vectors = encode(model.retriever.query, [model.inputs.query(QUESTION)], model.inputs.pad)
    return vectors[0]


def exact(site: Site, generation: Generation, way: Retrieval) -> list[str]:
    """Ids of the passages that exact search puts first."""
    passages, vectors = site.world.search.collections[generation.collection]
    index = ExactIndex(vectors, Bm25Index([weights_of(each) for each in passages]))
    query = question_vector(site, generation)
    rows, _ = index.search(query, question_weights(QUESTION), way, 4)
    return [passages[row].passage_id for row in rows]


@pytest.mark.parametrize("way", list(Retrieval))
async def test_a_request_chooses_the_way_and_scores_stay_the_model_s(
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
    scale = site.world.models[first.snapshot].retriever.scale.item()
    query = question_vector(site, first)
    scores = [scale * float(vectors[rows[each]] @ query) for each in ids]
    assert [each.score for each in found.passages] == pytest.approx(scores, abs=1e-4)
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
        assert len((await client.search("xylophone", limit=3)).passages) == 3


async def test_an_unknown_way_of_retrieval_is_refused(site: Site) -> None:
    request = retrieval_pb2.RetrievePassagesRequest(question=QUESTION)
    request.retrieval = 17  # type: ignore[assignment]
    with pytest.raises(grpc.RpcError) as caught:
        await site.retrieval.RetrievePassages(request, timeout=PATIENCE)
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "retrieval"
    async with AsyncClient(f"127.0.0.1:{site.gateway.port}") as client:
        with pytest.raises(InvalidInput, match="dense, bm25, hybrid"):
            await client.search(QUESTION, retrieval="sparse")


async def test_a_generation_without_bm25_answers_by_vectors(site: Site, first: Generation) -> None:
    current = site.gateway.slot.current
    assert current is not None
    old: Serving = replace(current, generation=replace(first, average_terms=0.0))
    assert old.retrieval(None, Retrieval.HYBRID) is Retrieval.DENSE
    assert old.retrieval(Retrieval.DENSE, Retrieval.HYBRID) is Retrieval.DENSE
    for way in (Retrieval.BM25, Retrieval.HYBRID):
        with pytest.raises(FailedPrecondition, match="built without BM25"):
            old.retrieval(way, Retrieval.HYBRID)
        assert current.retrieval(way, Retrieval.DENSE) is way

"""The project's own index, by vectors, by words and by both, agrees with exact search.

Congruent are scores, not ids: passages of equal score may stand in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, suppress
from uuid import uuid4

import numpy as np
import pytest

from realm.corpus.documents import passage_id
from realm.corpus.passages import Passage
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index, passage_weights, question_weights
from realm.search.exact import ExactIndex
from realm.search.fusion import RRF_DEPTH, RRF_K
from realm.search.vector_index import Query, VectorIndex, open_index, open_search
from realm.settings import Settings, load_settings
from realm.text.terms import count_terms
from tests.congruence.oracle import SIZE

COUNT = 2 * RRF_DEPTH
AVERAGE_TERMS = 20.0
TOLERANCE = 1e-4
WORDS = [f"w{number}" for number in range(120)]
WEIGHTS = [1 / rank for rank in range(1, len(WORDS) + 1)]


def make_passages(seed: int, version: int = 1) -> list[Passage]:
    """Words by Zipf's law; the last passage has none at all."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, WEIGHTS, k=rng.randint(2, 40))) for _ in range(COUNT - 1)]
    return [passage(number, text, version) for number, text in enumerate([*texts, "…"])]


def passage(number: int, text: str, version: int) -> Passage:
    counted = count_terms(text)
    return Passage(
        passage_id=passage_id(f"d{number}", 0),
        document_id=f"d{number}",
        document_version=version,
        ordinal=0,
        start=0,
        end=len(text),
        title="",
        text=text,
        title_ids=[],
        body_ids=[],
        content_hash="",
        terms=list(counted),
        term_counts=list(counted.values()),
    )


def make_vectors(seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((COUNT, SIZE)).astype(np.float32)


def exact_index(passages: list[Passage], vectors: Vectors) -> ExactIndex:
    weighed = [passage_weights(p.terms, p.term_counts, AVERAGE_TERMS) for p in passages]
    return ExactIndex(vectors, Bm25Index(weighed))


@pytest.fixture
def settings(qdrant_url: str) -> Settings:
    return load_settings(qdrant_url=qdrant_url)


@pytest.fixture
def index(settings: Settings) -> Iterator[VectorIndex]:
    with closing(open_index(settings)) as found:
        yield found


@pytest.fixture
def collection(index: VectorIndex) -> Iterator[str]:
    name = f"passages-{uuid4().hex}"
    index.create(name, SIZE)
    yield name
    with suppress(Exception):
        index.drop(name)


async def agrees(
    settings: Settings, collection: str, passages: list[Passage], vectors: Vectors
) -> None:
    """For each way: as many passages as exact search finds, with the scores that it gives them."""
    oracle = exact_index(passages, vectors)
    rows = {each.passage_id: row for row, each in enumerate(passages)}
    rng = random.Random(5)
    search = open_search(settings)
    for query in make_vectors(9)[:12]:
        terms = question_weights(" ".join(rng.choices(WORDS, WEIGHTS, k=5)))
        by_vector = oracle.vectors @ query
        scores = {
            Retrieval.DENSE: by_vector,
            Retrieval.BM25: oracle.words.scores(terms),
            Retrieval.HYBRID: fused_scores(by_vector, oracle.words.scores(terms)),
        }
        for way in Retrieval:
            hits = await search.search(collection, Query(query, terms, way), 15, 10.0)
            found = [rows[hit.passage.passage_id] for hit in hits]
            expected, _ = oracle.search(query, terms, way, 15)
            assert len(set(found)) == len(expected)
            np.testing.assert_allclose(scores[way][found], scores[way][expected], atol=TOLERANCE)
            # f(x, z) is the model's, whatever chose the passage.
            np.testing.assert_allclose(
                [hit.score for hit in hits], by_vector[found], atol=TOLERANCE
            )
            if way is Retrieval.DENSE:
                assert found == expected.tolist()
    await search.close()


def fused_scores(*rankings: Vectors) -> Vectors:
    """Σ 1 / (k + rank) over the best `RRF_DEPTH` of each, without those of score 0: [passages]."""
    total = np.zeros(COUNT, np.float32)
    for number, scores in enumerate(rankings):
        best = np.argsort(-scores, kind="stable")[:RRF_DEPTH]
        kept = best if number == 0 else best[scores[best] > 0]
        total[kept] += 1 / (RRF_K + np.arange(1, len(kept) + 1, dtype=np.float32))
    return total


async def test_each_way_finds_what_exact_search_finds(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, AVERAGE_TERMS)
    await agrees(settings, collection, passages, vectors)


async def test_edited_passages_are_found_by_their_new_words_alone(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    index.upsert(collection, make_passages(1), make_vectors(1), AVERAGE_TERMS)
    passages, vectors = make_passages(2, version=2), make_vectors(2)
    index.upsert(collection, passages, vectors, AVERAGE_TERMS)
    await agrees(settings, collection, passages, vectors)


async def test_what_comes_late_takes_no_newer_version_s_place(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(2, version=2), make_vectors(2)
    index.upsert(collection, passages, vectors, AVERAGE_TERMS)
    index.upsert(collection, make_passages(1), make_vectors(1), AVERAGE_TERMS)
    await agrees(settings, collection, passages, vectors)


async def test_a_question_without_words_is_answered_by_vectors_if_they_may(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, AVERAGE_TERMS)
    search = open_search(settings)
    query, terms = vectors[0], question_weights("…?")
    by_words = await search.search(collection, Query(query, terms, Retrieval.BM25), 5, 10.0)
    by_both = await search.search(collection, Query(query, terms, Retrieval.HYBRID), 5, 10.0)
    by_vector = await search.search(collection, Query(query, terms, Retrieval.DENSE), 5, 10.0)
    await search.close()
    assert by_words == []
    assert by_both == by_vector
    assert len(by_both) == 5


def test_stored_weights_come_back(index: VectorIndex, collection: str) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, AVERAGE_TERMS)
    chosen = [*passages[:20], passages[-1]]
    found = index.weights(collection, [each.passage_id for each in chosen])
    for each in chosen:
        expected = passage_weights(each.terms, each.term_counts, AVERAGE_TERMS)
        assert found[each.passage_id].close_to(expected, 1e-6)


def test_training_finds_by_words_what_exact_search_finds(
    index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, AVERAGE_TERMS)
    words = exact_index(passages, vectors).words
    rng = random.Random(6)
    asked = [question_weights(" ".join(rng.choices(WORDS, WEIGHTS, k=4))) for _ in range(5)]
    found = index.search_words(collection, [*asked, question_weights("…?")], 10)
    rows = {each.passage_id: row for row, each in enumerate(passages)}
    assert found.pop() == []
    for question, passages_found in zip(asked, found, strict=True):
        best, scores = words.search(question, 10)
        own = words.scores(question)[[rows[one.passage_id] for one in passages_found]]
        assert len(own) == len(best)
        np.testing.assert_allclose(own, scores, atol=TOLERANCE)


def test_a_beam_of_thousands_comes_back_whole(index: VectorIndex, collection: str) -> None:
    """Some megabytes: more than gRPC takes by itself."""
    text = "word " * 260
    passages = [passage(number, f"{number} {text}", 1) for number in range(4500)]
    vectors = np.random.default_rng(3).standard_normal((len(passages), SIZE)).astype(np.float32)
    index.upsert(collection, passages, vectors, 260.0)
    (hits,) = index.search(collection, vectors[:1], 5000)
    assert len({hit.passage.passage_id for hit in hits}) == len(passages)
    assert all(len(hit.passage.text) > len(text) for hit in hits)

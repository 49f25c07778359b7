"""The project's own index, by vectors, by words and by both, agrees with exact search.

Congruent are scores, not ids: passages of equal score may stand in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import cycle
from uuid import uuid4

import numpy as np
import pytest

from realm.corpus.documents import passage_id
from realm.corpus.passages import Passage
from realm.model.relevance import Relevance
from realm.records.vectors import Vectors
from realm.records.weighing import Weighing
from realm.retrieval import Retrieval
from realm.search.bm25 import K1, Bm25Index
from realm.search.exact import DEPTH, RRF_K, ExactIndex
from realm.search.vector_index import Query, VectorIndex, open_index, open_search, relevance_of
from realm.search.word_statistics import WordStatistics
from realm.settings import Settings, load_settings
from realm.text.terms import count_terms
from tests.congruence.oracle import SIZE

COUNT = 2 * DEPTH
RELEVANCE = Relevance(scale=3.0, word_weight=2.0)
COVERED = Relevance(scale=3.0, word_weight=9.0, coverage=True)
TOLERANCE = 1e-4
#: Scores that differ by less may be in any order: rounding decides.
TIE = 1e-5
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


#: A generation's: counted once, whatever is written afterwards.
STATISTICS = WordStatistics.of(make_passages(1))


def make_vectors(seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((COUNT, SIZE)).astype(np.float32)


def exact_index(passages: list[Passage], vectors: Vectors) -> ExactIndex:
    weighed = [STATISTICS.passage(p.terms, p.term_counts) for p in passages]
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
    for query, relevance in zip(make_vectors(9)[:12], cycle((RELEVANCE, COVERED)), strict=False):
        terms = STATISTICS.question(" ".join(rng.choices(WORDS, WEIGHTS, k=5)))
        by_vector, by_words = oracle.vectors @ query, oracle.words.scores(terms)
        scores = {
            Retrieval.DENSE: by_vector,
            Retrieval.BM25: by_words,
            Retrieval.HYBRID: relevance(by_vector, relevance.words(by_words, terms.total)),
        }
        for way in Retrieval:
            asked = Query(query, terms, way, relevance)
            hits = (await search.search(collection, asked, 15, 10.0)).hits
            found = [rows[hit.passage.passage_id] for hit in hits]
            expected = oracle.search(asked, 15).rows
            assert len(set(found)) == len(expected)
            if way is Retrieval.RANK_FUSION:
                least, most = (fused_scores(by_vector, by_words, best=b) for b in (False, True))
                count = len(found)
                assert (descending(most[found]) >= descending(least)[:count] - TOLERANCE).all()
                assert (descending(least[found]) <= descending(most)[:count] + TOLERANCE).all()
            else:
                np.testing.assert_allclose(
                    scores[way][found], scores[way][expected], atol=TOLERANCE
                )
            # Both parts are exact, whatever ranked the passage.
            products, words = [hit.product for hit in hits], [hit.words for hit in hits]
            np.testing.assert_allclose(products, by_vector[found], atol=TOLERANCE)
            np.testing.assert_allclose(words, asked.words(by_words)[found], atol=TOLERANCE)
            if way in (Retrieval.DENSE, Retrieval.HYBRID):
                assert found == expected.tolist()
    await search.close()


def descending(scores: Vectors) -> Vectors:
    return np.sort(scores)[::-1]


def fused_scores(*rankings: Vectors, best: bool) -> Vectors:
    """Σ 1 / (k + rank) over the best `DEPTH` of each, without those of score 0: [passages].

    :param best: among passages of equal score each has the best place, or each the worst.
    """
    total = np.zeros(COUNT, np.float32)
    for number, scores in enumerate(rankings):
        margin = TIE if best else -TIE
        above = (scores[None, :] > scores[:, None] + margin).sum(axis=1)  # [passages]
        ranks = above + 1 if best else above
        kept = (ranks <= DEPTH) & ((scores > 0) | (number == 0))
        total[kept] += 1 / (RRF_K + ranks[kept].astype(np.float32))
    return total


async def test_each_way_finds_what_exact_search_finds(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    await agrees(settings, collection, passages, vectors)


async def test_edited_passages_are_found_by_their_new_words_alone(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    index.upsert(collection, make_passages(1), make_vectors(1), STATISTICS.weighing)
    passages, vectors = make_passages(2, version=2), make_vectors(2)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    await agrees(settings, collection, passages, vectors)


async def test_what_comes_late_takes_no_newer_version_s_place(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(2, version=2), make_vectors(2)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    index.upsert(collection, make_passages(1), make_vectors(1), STATISTICS.weighing)
    await agrees(settings, collection, passages, vectors)


def test_of_each_document_what_is_older_than_its_own_version_goes(
    index: VectorIndex, collection: str
) -> None:
    passages = [passage(number, "text", version=1 + number % 3) for number in range(COUNT)]
    index.upsert(collection, passages, make_vectors(1), STATISTICS.weighing)
    asked = {each.document_id: 1 + number % 4 for number, each in enumerate(passages[:-9])}
    index.delete_older(collection, {**asked, "never there": 9})
    left = {
        each.passage_id: each.document_version
        for each in passages
        if each.document_version >= asked.get(each.document_id, 0)
    }
    assert index.versions(collection, [each.passage_id for each in passages]) == left
    assert index.count(collection) == len(left) < COUNT
    index.delete_older(collection, {})
    assert index.count(collection) == len(left)


async def test_a_question_without_words_is_answered_by_vectors_if_they_may(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    search = open_search(settings)
    query, terms = vectors[0], STATISTICS.question("…?")
    by_words = await search.search(collection, Query(query, terms, Retrieval.BM25), 5, 10.0)
    by_both = await search.search(collection, Query(query, terms, Retrieval.HYBRID), 5, 10.0)
    by_vector = await search.search(collection, Query(query, terms, Retrieval.DENSE), 5, 10.0)
    await search.close()
    assert by_words.hits == []
    assert by_both == by_vector
    assert len(by_both.hits) == 5


def test_stored_weights_come_back(index: VectorIndex, collection: str) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    chosen = [*passages[:20], passages[-1]]
    found = index.weights(collection, [each.passage_id for each in chosen])
    for each in chosen:
        expected = STATISTICS.passage(each.terms, each.term_counts)
        assert found[each.passage_id].close_to(expected, 1e-6)


def test_many_queries_are_answered_at_once_and_one_without_words_too(
    index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(1), make_vectors(1)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    oracle, rng = exact_index(passages, vectors), random.Random(6)
    texts = [*(" ".join(rng.choices(WORDS, WEIGHTS, k=4)) for _ in range(5)), "…?"]
    for way in (Retrieval.BM25, Retrieval.HYBRID):
        asked = [
            Query(vector, STATISTICS.question(text), way, RELEVANCE)
            for vector, text in zip(vectors, texts, strict=False)
        ]
        found = index.search(collection, asked, 10)
        for query, hits in zip(asked, found, strict=True):
            expected = oracle.search(query, 10)
            f = query.relevance(expected.products, expected.words)
            assert len(hits) == len(f)
            if way is Retrieval.HYBRID:
                np.testing.assert_allclose(relevance_of(hits, query), f, atol=TOLERANCE)
            else:
                words = [hit.words for hit in hits]
                np.testing.assert_allclose(words, expected.words, atol=TOLERANCE)


def test_a_beam_of_thousands_comes_back_whole(index: VectorIndex, collection: str) -> None:
    """Some megabytes: more than gRPC takes by itself."""
    text = "word " * 260
    passages = [passage(number, f"{number} {text}", 1) for number in range(4500)]
    vectors = np.random.default_rng(3).standard_normal((len(passages), SIZE)).astype(np.float32)
    index.upsert(collection, passages, vectors, Weighing(260.0, K1))
    (hits,) = index.search(collection, [Query(vectors[0])], 5000)
    assert len({hit.passage.passage_id for hit in hits}) == len(passages)
    assert all(len(hit.passage.text) > len(text) for hit in hits)

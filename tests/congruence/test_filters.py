"""Filtered search is exact search over the passages that pass, in every ranking."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from qdrant_client import QdrantClient

from realm.corpus.passages import Passage
from realm.filters import any_of, conjoin, matches, none_of, where
from realm.retrieval import Retrieval
from realm.search.qdrant.filters import MOST_INDEXES
from realm.search.vector_index import Query, VectorIndex, open_index, open_search, relevance_of
from realm.settings import Settings, load_settings
from realm.v1.types_pb2 import Filter
from tests.congruence import test_retrieval as plain
from tests.congruence.test_retrieval import (
    RELEVANCE,
    STATISTICS,
    collection,
    exact_index,
    index,
    make_vectors,
)

__all__ = ["collection", "index"]

ODD_KEYS = ("a.b", "with space", "日本", "", "[0]", "it's", "metadata", "numbers.year")
LIMIT = 15


def make_passages() -> list[Passage]:
    """Each key is missing here and there; `mixed` is number, date or word."""
    rng = random.Random(7)
    return [
        replace(
            each,
            metadata={
                key: value
                for key, value in {
                    "lang": rng.choice(["de", "fr", "en"]),
                    "year": str(rng.randint(1990, 2024)),
                    "price": f"{rng.uniform(-5, 5):.3f}",
                    "day": f"20{rng.randint(10, 24)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}",
                    "mixed": rng.choice(["7", "2020-01-01T12:00:00+02:00", "word", ""]),
                    **{key: rng.choice("xy") for key in ODD_KEYS},
                }.items()
                if rng.random() < 0.8
            },
        )
        for each in plain.make_passages(1)
    ]


FILTERS = {
    "equals": where("lang=de"),
    "not equal": where("lang!=de"),
    "one of": where("lang=de|fr"),
    "exists": where("year"),
    "absent": where("!year"),
    "empty value": where("mixed="),
    "years": where("year>=1995", "year<2010"),
    "fractions": where("price>-1.5", "price<=2"),
    "days": where("day>=2014-03-01", "day<2020-01-01"),
    "a moment": where("mixed<=2020-01-01T10:00:00Z"),
    "before it": where("mixed<2020-01-01T10:00:00Z"),
    "numbers among others": where("mixed<=7"),
    "any": any_of("lang=de", "year>2015"),
    "none": none_of("lang=de", where("year>2015", "price>0")),
    "nested": conjoin(where("lang=de|fr"), any_of("!year", none_of("price<0"))),
    "no such value": where("lang=klingon"),
    **{f"key {key!r}": any_of(where(Filter(exists=key)), "year=1991") for key in ODD_KEYS},
}


@pytest.fixture
def settings(qdrant_url: str) -> Settings:
    return load_settings(qdrant_url=qdrant_url, filter_keys="lang,never met")


async def test_each_ranking_is_of_the_passages_that_pass(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    passages, vectors = make_passages(), make_vectors(1)
    index.upsert(collection, passages, vectors, STATISTICS.weighing)
    search = open_search(settings)
    terms = STATISTICS.question("w0 w1 w5 w9")
    vector = make_vectors(9)[0]
    for name, given in FILTERS.items():
        rows = [row for row, each in enumerate(passages) if matches(given, each.metadata)]
        assert (0 < len(rows) < len(passages)) != (name in ("before it", "no such value")), name
        oracle = exact_index([passages[row] for row in rows], vectors[rows])
        for way in Retrieval:
            asked = Query(vector, terms, way, RELEVANCE, given)
            hits = (await search.search(collection, asked, LIMIT, 10.0)).hits
            assert all(matches(given, hit.passage.metadata) for hit in hits), (name, way)
            if not rows:
                assert not hits
                continue
            expected = oracle.search(asked, LIMIT)
            assert len(hits) == len(expected.rows), (name, way)
            if way is Retrieval.RANK_FUSION:
                continue  # of equal ranks either may come first
            wanted = RELEVANCE(expected.products, expected.words)
            np.testing.assert_allclose(
                sorted(relevance_of(hits, asked)), sorted(wanted), atol=1e-4, err_msg=name
            )
    await search.close()


async def test_an_edit_of_metadata_alone_counts(
    settings: Settings, index: VectorIndex, collection: str
) -> None:
    vectors = make_vectors(1)
    first = [replace(each, metadata={"state": "draft"}) for each in plain.make_passages(1)]
    index.upsert(collection, first, vectors, STATISTICS.weighing)
    edited = replace(first[3], document_version=2, metadata={"state": "final", "page": "3"})
    index.upsert(collection, [edited], vectors[3:4], STATISTICS.weighing)
    search = open_search(settings)
    for given in (where("state=final"), where("page<=3"), where("!page")):
        asked = Query(vectors[3], retrieval=Retrieval.DENSE, filter=given)
        found = await search.search(collection, asked, 300, 10.0)
        ids = {hit.passage.document_id for hit in found.hits}
        everybody = {each.document_id for each in first}
        wanted = {edited.document_id}
        assert ids == (everybody - wanted if given == where("!page") else wanted)
    await search.close()


def test_indexes_are_made_for_the_keys_met_and_are_bounded(
    client: QdrantClient, settings: Settings, index: VectorIndex, collection: str
) -> None:
    base, vectors = plain.make_passages(1)[:40], make_vectors(1)[:40]

    def schema() -> set[str]:
        return {each.replace('"', "") for each in client.get_collection(collection).payload_schema}

    named = {"metadata.lang", "numbers.lang", "times.lang", "metadata.never met"}
    assert named <= schema()
    first = [replace(base[0], metadata={"year": "2020", "title": "x", 'a"b': "unnameable"})]
    index.upsert(collection, first, vectors[:1], STATISTICS.weighing)
    assert {"metadata.year", "numbers.year", "metadata.title"} <= schema()
    before = schema()
    many = [replace(each, metadata={f"k{at}": str(at)}) for at, each in enumerate(base)]
    index.upsert(collection, many, vectors, STATISTICS.weighing)
    assert len(schema()) - len(before) + 3 == MOST_INDEXES
    # A process that comes later counts what is there.
    with closing(open_index(settings)) as later:
        more = [replace(each, metadata={f"l{at}": str(at)}) for at, each in enumerate(base)]
        later.upsert(collection, more, vectors, STATISTICS.weighing)
    assert len(schema()) - len(before) + 3 <= MOST_INDEXES

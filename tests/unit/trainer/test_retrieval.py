"""Retrieval follows what is live, between steps, and survives an index that is away."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from realm.corpus.passages import Passage, to_table
from realm.errors import DependencyUnavailable, NotReady
from realm.model.checkpoint import Model, write_model
from realm.model.encoders import Encoder
from realm.model.frozen_encoder import encode
from realm.objectives.candidates import Asked
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import Vectors
from realm.retrieval import Retrieval
from realm.search.bm25 import Bm25Index
from realm.search.exact import ExactIndex
from realm.search.vector_index import Hit, IndexedPassage, Query
from realm.search.word_statistics import WordStatistics, write_word_statistics
from services.trainer.data import CorpusView
from services.trainer.retrieval import RETRY_SECONDS, LiveRetrieval
from tests import tiny

LIMIT = 20.0


class MemoryIndex:
    """Collections of passages with their vectors, searched exactly."""

    def __init__(self) -> None:
        self.collections: dict[str, tuple[list[Passage], Vectors]] = {}
        self.away = False
        self.deleted: set[str] = set()
        self.queries: list[Vectors] = []

    def search(self, collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        if self.away:
            raise DependencyUnavailable("Qdrant does not serve")
        self.queries.extend(query.vector for query in queries)
        passages, vectors = self.collections[collection]
        statistics = WordStatistics.of(passages)
        words = Bm25Index([statistics.passage(p.terms, p.term_counts) for p in passages])
        index = ExactIndex(vectors, words)
        return [
            [
                Hit(indexed(passages[row]), float(product), float(score))
                for row, product, score in zip(found.rows, found.products, found.words, strict=True)
            ]
            for found in (index.search(query, limit) for query in queries)
        ]

    def vectors(self, collection: str, passage_ids: Sequence[str]) -> dict[str, Vectors]:
        passages, vectors = self.collections[collection]
        rows = {passage.passage_id: row for row, passage in enumerate(passages)}
        asked = [name for name in passage_ids if name not in self.deleted]
        return {name: vectors[rows[name]] for name in asked}


def indexed(passage: Passage) -> IndexedPassage:
    return IndexedPassage(
        passage.passage_id,
        passage.document_id,
        passage.document_version,
        passage.ordinal,
        passage.title,
        passage.text,
        passage.start,
        passage.end,
        {},
    )


class Bench:
    """A store, an index in memory and a clock that is set by hand."""

    def __init__(self, store: Store, model: Model, folder: Path) -> None:
        self.store, self.model, self.folder = store, model, folder
        self.snapshots, self.generations = Snapshots(store), Generations(store)
        self.index = MemoryIndex()
        self.corpus = tiny.passages(model.inputs)
        self.now = 0.0
        self.retrieval = self.make()

    def make(self, fresh: Encoder | None = None) -> LiveRetrieval:
        return LiveRetrieval(
            self.store,
            self.index,
            self.model.inputs,
            torch.device("cpu"),
            poll_seconds=0.5,
            fresh=fresh,
            clock=lambda: self.now,
        )

    def go_live(
        self, model: Model, step: int, fingerprint: str = "", vector_size: int = 32
    ) -> Generation:
        folder = self.folder / f"snapshot-{step}"
        write_model(folder, model)
        fingerprint = fingerprint or model.inputs.fingerprint
        snapshot = self.snapshots.publish(
            folder, step=step, fingerprint=fingerprint, vector_size=32
        )
        number = self.generations.next_number()
        made = Generation(
            number,
            snapshot.number,
            step,
            1,
            fingerprint,
            vector_size,
            (),
            f"c-{number}",
            0.0,
            "test",
            word_statistics=write_word_statistics(
                self.store, fingerprint, WordStatistics.of(self.corpus)
            ),
        )
        inputs = [model.inputs.passage(p.title_ids, p.body_ids) for p in self.corpus]
        vectors = encode(model.retriever.passage, inputs, model.inputs.pad)
        self.index.collections[made.collection] = (self.corpus, vectors)
        self.generations.create(made)
        self.generations.record(number, State.LIVE)
        self.generations.commit(number, after=self.generations.live(), by="test", why="test")
        return made

    def asked(self, text: str) -> Asked:
        return Asked(text, self.model.inputs.query(text))

    def settle(self) -> bool:
        """Looks until something was taken, or nothing is being loaded."""
        deadline = time.monotonic() + LIMIT
        self.now += 1.0
        while time.monotonic() < deadline:
            if self.retrieval.refresh():
                return True
            if not self.retrieval._loading.busy:
                return False
            time.sleep(0.005)
        raise TimeoutError("the live generation was not loaded")


@pytest.fixture
def bench(store: Store, model: Model, tmp_path: Path) -> Bench:
    return Bench(store, model, tmp_path)


def test_nothing_live_is_not_ready(bench: Bench) -> None:
    assert not bench.settle()
    with pytest.raises(NotReady, match="no generation is live"):
        bench.retrieval.search([bench.asked("the town")], 3)


def test_words_alone_are_nothing_to_learn_from(bench: Bench) -> None:
    bench.go_live(bench.model, 1, vector_size=0)
    assert not bench.settle()
    with pytest.raises(NotReady, match="no generation is live"):
        bench.retrieval.beams([bench.asked("the town")], 3)
    bench.go_live(bench.model, 2)
    assert bench.settle()


def test_token_ids_equal_the_passages_own_with_and_without_a_view(bench: Bench) -> None:
    bench.go_live(bench.model, 0)
    bench.settle()
    own = {p.passage_id: p for p in bench.corpus}
    query = bench.asked("the river of the town")
    for _ in range(2):
        for candidate in bench.retrieval.search([query], 5)[0]:
            assert candidate.body_ids == own[candidate.passage_id].body_ids
            assert candidate.title_ids == own[candidate.passage_id].title_ids
        bench.retrieval.take_ids_from(CorpusView(("a",), {"a": to_table(bench.corpus)}))


def test_queries_are_encoded_by_the_live_or_the_fresh_encoder(bench: Bench, base: Path) -> None:
    """Which encoder searched shows in the vectors that the index was asked with."""
    bench.go_live(tiny.make_model(base), 0)
    inputs, query = bench.model.inputs, bench.asked("the river of the town")
    for fresh in (None, bench.model.retriever.query):
        bench.retrieval = bench.make(fresh)
        assert bench.settle()
        live = bench.retrieval.live
        assert live is not None
        with torch.no_grad():
            for parameter in bench.model.retriever.parameters():
                parameter.add_(torch.randn_like(parameter))
        bench.index.queries.clear()
        bench.retrieval.search([query], 5)
        bench.retrieval.beams([query], 5)
        of_index = live.encoder.encode([query.encoded])
        of_model = encode(bench.model.retriever.query, [query.encoded], inputs.pad)
        assert not np.allclose(of_index, of_model)
        expected = of_index if fresh is None else of_model
        assert len(bench.index.queries) == 2
        for asked in bench.index.queries:
            np.testing.assert_array_equal(asked, expected[0])


def test_beams_carry_the_vectors_of_the_index_without_deleted_passages(bench: Bench) -> None:
    bench.go_live(bench.model, 0)
    bench.settle()
    queries = [bench.asked(text) for text in ("the river", "people live there")]
    beams = bench.retrieval.beams(queries, 5000)
    _, vectors = bench.index.collections[bench.retrieval.live.generation.collection]  # type: ignore[union-attr]
    rows = {passage.passage_id: row for row, passage in enumerate(bench.corpus)}
    found = bench.retrieval.search(queries, len(bench.corpus))
    for beam, ranked in zip(beams, found, strict=True):
        assert beam.passage_ids == [one.passage_id for one in ranked]
        assert len(beam.texts) == len(bench.corpus), "capped by the corpus"
        assert (beam.vectors == vectors[[rows[name] for name in beam.passage_ids]]).all()
        np.testing.assert_allclose(beam.words, [one.words for one in ranked], rtol=1e-6)
    gone = beams[0].passage_ids[0]
    bench.index.deleted.add(gone)  # between the two requests
    (beam,) = bench.retrieval.beams(queries[:1], 10)
    assert gone not in beam.passage_ids
    assert len(beam.passage_ids) == len(beam.document_ids) == len(beam.vectors) == 9


def test_words_find_what_holds_them(bench: Bench) -> None:
    bench.go_live(bench.model, 0)
    bench.settle()
    asked = [bench.asked("who was Esker of town 12?"), bench.asked("?")]
    found, nothing = bench.retrieval.search(asked, 3, Retrieval.BM25)
    assert "12" in found[0].text
    assert "Esker" in found[0].text
    assert found[0].words > found[1].words > 0
    assert nothing == []


def test_a_documents_passages_are_those_of_the_view(bench: Bench) -> None:
    wanted = bench.corpus[7]
    assert bench.retrieval.of_document(wanted.document_id) == []
    bench.retrieval.take_ids_from(CorpusView(("a",), {"a": to_table(bench.corpus)}))
    (found,) = bench.retrieval.of_document(wanted.document_id)
    assert (found.text, found.body_ids) == (wanted.text, wanted.body_ids)
    assert bench.retrieval.of_document("nobody") == []


def test_another_live_generation_is_taken_between_steps(bench: Bench, base: Path) -> None:
    first = bench.go_live(bench.model, 0)
    bench.settle()
    second = bench.go_live(tiny.make_model(base), 40)
    assert bench.retrieval.live is not None
    assert bench.retrieval.live.generation == first
    assert bench.settle()
    assert bench.retrieval.live.generation == second
    assert not bench.settle()


def test_a_generation_of_another_tokenizer_is_left_alone(bench: Bench) -> None:
    bench.go_live(bench.model, 0, fingerprint="another")
    assert not bench.settle()
    assert bench.retrieval.live is None


def test_an_index_that_failed_is_left_alone_for_a_while(bench: Bench) -> None:
    bench.go_live(bench.model, 0)
    bench.settle()
    query = [bench.asked("the town")]
    bench.index.away = True
    with pytest.raises(DependencyUnavailable, match="does not serve"):
        bench.retrieval.search(query, 3)
    bench.index.away = False
    with pytest.raises(DependencyUnavailable, match="a moment ago"):
        bench.retrieval.search(query, 3)
    bench.now += RETRY_SECONDS
    assert len(bench.retrieval.search(query, 3)[0]) == 3


def test_a_snapshot_that_is_damaged_is_tried_again_later(bench: Bench) -> None:
    bench.go_live(bench.model, 0)
    path = next(p for p in bench.store.files("snapshots") if p.endswith("encoder.safetensors"))
    whole = bench.store.read(path)
    bench.store.write(path, whole[:-1])
    assert not bench.settle()
    assert bench.retrieval.live is None
    bench.store.write(path, whole)
    assert bench.settle()

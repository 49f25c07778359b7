"""A leader that is stopped between its question to the store and its request to Qdrant, and wakes
when another one leads: nothing can stop that request, so it is told of and healed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from realm.corpus.passages import Passage, from_table
from realm.errors import NotReady
from realm.records import arrow
from realm.records.leaders import stale_writes
from realm.records.states import ACTIVE
from realm.records.vectors import Vectors, read_vectors, vector_file
from realm.search.vector_index import ChangeHooks, open_index
from services.indexer.build.loader import paired
from services.indexer.leader import housekeeping
from services.indexer.leader.election import Election
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(40)]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, make_bench: Callable[..., Bench]) -> Bench:
    monkeypatch.setattr(housekeeping, "EVERY_SECONDS", 0.5)
    made = make_bench()
    made.start()
    return made


class Sleeper:
    """The leader of term 1; `falls_asleep` makes it lose its term after it has asked the store."""

    def __init__(self, bench: Bench) -> None:
        self.now = 0.0
        self.falls_asleep = False
        self.election = self.elect(bench)
        self.other = self.elect(bench)
        self.election.tick()
        assert self.election.term == 1
        self.index = open_index(bench.settings, ChangeHooks(self.check, self.election.changed))

    def elect(self, bench: Bench) -> Election:
        return Election(
            bench.settings, bench.store, clock=lambda: self.now, has_ended=lambda name: False
        )

    def check(self) -> None:
        self.election.check()
        if self.falls_asleep:
            for _ in range(12):
                self.now += 1.0
                self.other.tick()
            assert self.other.term == 2


def passages_of(bench: Bench, document_id: str) -> tuple[list[Passage], Vectors]:
    generation = bench.indexer.generations.get(1)
    snapshot = bench.indexer.snapshots.get(generation.snapshot)
    for path in generation.passage_files:
        passages = from_table(arrow.read_table(bench.store, path))
        output = vector_file(snapshot.name, path)
        vectors = paired(passages, read_vectors(bench.store, output), output)
        rows = [row for row, each in enumerate(passages) if each.document_id == document_id]
        if rows:
            return [passages[row] for row in rows], vectors[rows]
    raise AssertionError(f"{document_id} is in no file")


def test_what_a_sleeper_did_too_late_is_undone_by_whoever_leads(bench: Bench) -> None:
    bench.write(DOCUMENTS)
    bench.publish(step=0)
    bench.until_live(1)
    sleeper = Sleeper(bench)
    passages, vectors = passages_of(bench, "document-3")
    weighing = bench.indexer.generations.get(1).weighing
    collection = bench.indexer.generations.get(1).collection
    sleeper.index.upsert(collection, passages, vectors, weighing)
    assert not stale_writes(bench.store), "it led"

    bench.until_applied(bench.delete("document-3"))
    assert "document-3" not in bench.documents_found(DOCUMENTS[3].text)
    sleeper.falls_asleep = True
    with pytest.raises(NotReady, match="term 2"):
        sleeper.index.upsert(collection, passages, vectors, weighing)
    assert "document-3" in bench.documents_found(DOCUMENTS[3].text, 1), "it came back"
    with pytest.raises(NotReady):
        sleeper.index.upsert(collection, passages, vectors, weighing)

    # Live is replaced; what was live is replaced too, or retired as damaged, whoever is faster.
    generations = bench.indexer.generations
    bench.until(lambda: bench.live() >= 2, "an index made anew takes its place")
    bench.until(lambda: generations.state(1) not in ACTIVE, "nobody goes back to it")
    bench.until(lambda: not stale_writes(bench.store), "nothing is left to heal")
    assert "document-3" not in bench.documents_found(DOCUMENTS[3].text)
    assert bench.documents_found(DOCUMENTS[7].text)[0] == "document-7"

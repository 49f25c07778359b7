"""A store written by commit 930cdaa opens: its paths, records, columns and hashes are formats.

Eight documents, two snapshots and generations, edits and a deletion, a rollback, a pause, a pin;
one leader's term, one refused task and one parked document.
"""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from realm.corpus.changes import changes_file, read_changes
from realm.corpus.documents import Document
from realm.corpus.parked import ParkedDocuments
from realm.corpus.passages import Passage, from_table, split_document
from realm.corpus.table import Change, CorpusTable
from realm.model.config import ModelConfig
from realm.model.inputs import InputBuilder
from realm.records.arrow import read_table
from realm.records.controls import Controls
from realm.records.failures import failures
from realm.records.generations import Generations
from realm.records.leaders import Leaders
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.records.strays import Strays
from realm.records.vectors import matrix, read_vectors, vector_file


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with tarfile.open(Path(__file__).with_name("store-930cdaa.tar.xz")) as archive:
        # Python before 3.11.4, as Debian 12 has it, knows no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    return Store.open(str(tmp_path))


def without_terms(passage: Passage) -> Passage:
    return replace(passage, terms=[], term_counts=[])


def test_every_file_is_known_and_sound(store: Store) -> None:
    assert Strays(store).scan() == []
    for entry in store.entries(""):
        if entry.path.endswith(".arrow"):
            read_table(store, entry.path)


def test_snapshots_open(store: Store) -> None:
    snapshots = Snapshots(store)
    assert [(each.number, each.step) for each in snapshots.all()] == [(1, 10), (2, 20)]
    assert snapshots.pinned() == {1: "kept for the fixture"}
    for each in snapshots.all():
        snapshots.verify(each)


def test_generations_and_the_history_of_live_open(store: Store) -> None:
    generations = Generations(store)
    assert generations.numbers() == [1, 2]
    assert [generations.state(each) for each in (1, 2)] == [State.LIVE, State.RETAINED]
    assert [generations.applied(each) for each in (1, 2)] == [5, 5]
    second = generations.get(2)
    assert (second.snapshot, second.corpus_version, second.collection) == (
        2, 3, "passages-00000002",
    )  # fmt: skip
    live = generations.live()
    assert live is not None
    assert (live.sequence, live.generation, live.why) == (3, 1, "rollback: to try it")


def test_records_of_control_open(store: Store) -> None:
    assert Controls(store).paused()
    term = Leaders(store).newest()
    assert term is not None
    assert (term.number, term.address, Leaders(store).last_beat(1)) == (1, "indexer:50052", "3")
    assert [each.why for each in failures(store)] == ["the vector of a passage is not finite"]
    assert [each.document_id for each in ParkedDocuments(store).all()] == ["town-9"]


def test_the_corpus_opens_and_goes_on(store: Store) -> None:
    table = CorpusTable(store)
    assert table.version == 5
    names = {f"town-{number}" for number in (0, 1, 2, 3, 4, 5, 6, 8, 9)}
    assert {each.document_id for each in table.states(5)} == names
    edited = table.lookup("town-0")()
    assert edited is not None
    assert edited.document is not None
    assert (edited.version, edited.document.title) == (2, "Arden")
    assert table.append([Change("new", Document("new", "", "words"), "request")]) == 6
    assert CorpusTable(store).lookup("new")() is not None


def test_passages_and_vectors_fit_what_is_made_today(store: Store) -> None:
    snapshot = Snapshots(store).get(1)
    folder = Snapshots(store).materialise(snapshot)
    config = ModelConfig.from_json((folder / "config.json").read_text())
    inputs = InputBuilder.from_folder(folder, config.lengths)
    # Since then texts with headings are cut otherwise, and there are more terms: the next refresh
    # cuts anew. Of plain text all else is the same.
    assert inputs.fingerprint != snapshot.fingerprint
    (path,) = Generations(store).get(1).passage_files
    passages = from_table(read_table(store, path))
    states = CorpusTable(store).changes(0, 1)
    today = [p for each in states if each.document
             for p in split_document(each.document, 1, inputs)]  # fmt: skip
    ordered = sorted(today, key=lambda p: (p.document_id, p.ordinal))
    assert list(map(without_terms, passages)) == list(map(without_terms, ordered))
    assert all(set(old.terms) <= set(new.terms) for old, new in zip(passages, ordered, strict=True))
    vectors = read_vectors(store, vector_file(snapshot.name, path))
    assert vectors["content_hash"].to_pylist() == [each.content_hash for each in passages]
    assert matrix(vectors).shape == (len(passages), snapshot.vector_size)
    changes = read_changes(store, changes_file(snapshot.fingerprint, 2, 3))
    assert [(each.document_id, each.op) for each in changes.documents] == [("town-7", "delete")]

"""The corpus' log loses an entry: nothing is written in its place, and no reader takes what is
before it for all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import DamagedCorpus, DependencyUnavailable
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.settings import load_settings
from services.indexer.indexer import Indexer
from services.indexer.metrics import IndexerMetrics
from tests.unit.indexer.examples import create

NOWHERE = "127.0.0.1:1"
SECONDS = 20


def change(name: str) -> Change:
    return Change(name, Document(name, "", "Some text."), f"request {name}")


@pytest.fixture
def indexer(store: Store) -> Iterator[Indexer]:
    """Three versions, all in live; its writer is at work."""
    table = CorpusTable(store)
    for name in "abc":
        table.append([change(name)])
    create(store, 1, State.LIVE)
    Generations(store).commit(1, after=None, by="test", why="")
    Generations(store).record_applied(1, 3, points=3)
    settings = load_settings(
        store_url=store.url, redis_url=f"redis://{NOWHERE}/0", qdrant_url=f"http://{NOWHERE}"
    )
    made = Indexer(settings, store, IndexerMetrics(CollectorRegistry()))
    made.writer.start()
    yield made
    made.writer.stop()
    made.writer.join(timeout=SECONDS)


def write(indexer: Indexer, name: str) -> int:
    return indexer.writer.submit(f"request {name}", (change(name),)).result(timeout=SECONDS)


def test_no_write_takes_the_place_of_a_lost_one(store: Store, indexer: Indexer) -> None:
    newest = f"corpus/_delta_log/{3:020d}.json"
    backup = store.read(newest)
    store.delete(newest)
    with pytest.raises(
        DependencyUnavailable, match="ends at version 2, but an index holds version 3"
    ):
        write(indexer, "d")
    assert CorpusTable(store).version == 2
    store.write(newest, backup)
    assert write(indexer, "d") == 4
    assert CorpusTable(store).lookup("c")()


@pytest.mark.parametrize("lost", [4, 5])
def test_a_reader_that_is_behind_does_not_end_at_a_lost_version(
    store: Store, indexer: Indexer, lost: int
) -> None:
    assert indexer.corpus.version() == 3
    assert [write(indexer, name) for name in "de"] == [4, 5]
    entry = f"corpus/_delta_log/{lost:020d}.json"
    backup = store.read(entry)
    store.delete(entry)
    with pytest.raises(DamagedCorpus, match=f"ends at version {lost - 1}, but version 5 was there"):
        indexer.corpus.get("e")
    store.write(entry, backup)
    assert indexer.corpus.get("e")

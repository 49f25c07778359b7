"""`realm plan` of a small store: figures that follow from what is there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from realm.corpus.documents import Document
from realm.corpus.passage_files import build_passage_files
from realm.corpus.table import Change, CorpusTable
from realm.model.publishing import publish_model
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import State, phase_figures
from realm.records.store import Store
from tests.tiny import make_model, write_base
from tests.unit.cli.conftest import run

DOCUMENTS = 12


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generation:
    """A generation of some documents went live; its embedder made ten passages a second."""
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    store = Store.open(str(tmp_path / "store"))
    model = make_model(write_base(tmp_path / "first"))
    snapshot = publish_model(Snapshots(store), model, step=1)
    table = CorpusTable(store)
    texts = [Document(f"d{n}", "Town", f"Town {n} was founded in {n}.") for n in range(DOCUMENTS)]
    table.append([Change(each.id, each, "") for each in texts])
    states = list(table.states(table.version))
    files = build_passage_files(store, model.inputs, (), states, table.version, lambda *_: 2)
    generations = Generations(store)
    made = Generation(
        number=1, snapshot=snapshot.number, step=1, corpus_version=table.version,
        fingerprint=snapshot.fingerprint, vector_size=snapshot.vector_size, passage_files=files,
        collection=collection_name(1), created_at=time.time(), why="test", average_terms=5.0,
    )  # fmt: skip
    generations.create(made)
    generations.record_applied(1, made.corpus_version, DOCUMENTS)
    report = {"passages_per_second": 10.0, **phase_figures({"load": 2.0, "embed": 9.0})}
    generations.commit(1, after=None, by="test", why="refresh")
    generations.record(1, State.LIVE, "refresh", report)
    return made


def test_it_tells_time_cost_disk_and_memory(
    live: Generation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    assert run(["plan", str(base), "--copies", "3", "--price", "3600", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passages"] == DOCUMENTS
    assert told["qdrant_bytes"] == DOCUMENTS * told["vector_size"] * 4 * 1.5 * 3
    # Of the rate that was seen, and of the phases beside embedding.
    embedding = DOCUMENTS / 10.0 * told["times_as_slow"]
    assert told["embedding_seconds"] == pytest.approx(embedding)
    assert told["seconds"] >= embedding + 2.0
    assert told["cost"] == pytest.approx(told["embedding_seconds"])
    assert told["store_bytes"] > 0
    assert run(["plan", str(base), "--price", "1"]) == 0
    assert "times that of the live model" in capsys.readouterr().out


def test_without_a_live_index_there_is_nothing_to_compare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REALM_STORE_URL", str(tmp_path / "store"))
    Store.open(str(tmp_path / "store"))
    assert run(["plan", str(write_base(tmp_path / "base"))]) == 1
    assert "nothing with vectors is live yet" in capsys.readouterr().err

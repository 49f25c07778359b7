"""One flipped bit in a file of each kind: found by checksum, made again or refused; live stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from realm.corpus.changes import changes_file
from realm.records.states import State
from realm.records.store import Store
from realm.records.vectors import vector_file
from tests.integration.indexing import Bench, document

DOCUMENTS = [document(number) for number in range(60)]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Generation 1 is live; nobody embeds shards any more until a test starts a worker."""
    made = make_bench(request_again_seconds=2)
    made.start()
    made.write(DOCUMENTS)
    made.publish(step=0)
    made.until_live(1)
    made.stop_workers()
    return made


def flip(store: Store, path: str) -> None:
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 0b100
    store.write(path, bytes(data))


def until_building(bench: Bench, number: int) -> None:
    bench.until(lambda: number in bench.indexer.generations.numbers(), f"build {number} begins")


def until_live_again(bench: Bench) -> None:
    bench.until(lambda: bench.live() > 1, "a generation is live after the fault")
    assert bench.documents_found(DOCUMENTS[7].text)[0] == "document-7"
    assert bench.count(bench.live()) == bench.count(1)


def test_a_passage_file_is_cut_again(bench: Bench) -> None:
    bench.publish(step=40)
    until_building(bench, 2)
    damaged = bench.indexer.generations.get(2).passage_files[0]
    flip(bench.store, damaged)
    bench.start_worker()
    until_live_again(bench)
    assert bench.indexer.generations.state(2) is State.ABANDONED
    assert damaged in bench.indexer.generations.get(3).passage_files, "as it was, of equal content"
    assert not bench.store.files("refused")


def test_a_vector_file_is_made_again(bench: Bench) -> None:
    snapshot = bench.publish(step=40)
    until_building(bench, 2)
    bench.start_worker("realm.embed")
    files = bench.indexer.generations.get(2).passage_files
    outputs = [vector_file(snapshot.name, path) for path in files]
    bench.until(lambda: all(map(bench.store.exists, outputs)), "all shards are embedded")
    # Loaded or not, the gate reads it: nothing goes live with it.
    flip(bench.store, outputs[0])
    bench.start_worker("realm.delta")
    until_live_again(bench)
    assert bench.indexer.generations.numbers() == [1, 2]


def test_a_changes_file_and_a_delta_are_made_again(bench: Bench) -> None:
    version = bench.write([document(500)])
    generation = bench.indexer.generations.get(1)
    before = version - 1
    source = changes_file(generation.fingerprint, before, version)
    bench.until(lambda: bench.store.exists(source), "the changes are cut")
    flip(bench.store, source)
    bench.start_worker()
    bench.until_applied(version)
    assert bench.documents_found(document(500).text)[0] == "document-500"


def test_a_damaged_snapshot_is_refused_and_the_next_one_taken(bench: Bench) -> None:
    bench.indexer.controls.pause(True, "")
    bad = bench.publish(step=40)
    flip(bench.store, f"{bad.folder}/tokenizer.json")
    bench.indexer.controls.pause(False, "")
    bench.start_worker()
    bench.until(lambda: bad.number in bench.indexer.memory.damaged, "it is found damaged")
    assert bench.live() == 1
    bench.publish(step=80)
    until_live_again(bench)
    live = bench.indexer.generations.get(bench.live())
    assert live.snapshot != bad.number


def test_a_reader_damaged_while_its_index_is_built_does_not_go_live(bench: Bench) -> None:
    snapshot = bench.publish(step=40)
    until_building(bench, 2)
    flip(bench.store, f"{snapshot.folder}/reader.safetensors")
    bench.start_worker()
    bench.until(lambda: snapshot.number in bench.indexer.memory.damaged, "it is found damaged")
    abandoned = State.ABANDONED
    bench.until(lambda: bench.indexer.generations.state(2) is abandoned, "its build is given up")
    assert bench.live() == 1


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """The system refuses to write: in a process whose files may not grow beyond a limit."""
    program = """
import resource, signal, sys
from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import DependencyUnavailable
from realm.records.store import Store
store = Store.open(sys.argv[1])
table = CorpusTable(store)
table.append([Change("a", Document("a", "t", "kept"), "r1")])
store.write("whole", b"before")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for path in ("whole", "new"):
    try:
        store.write(path, bytes(100_000))
    except DependencyUnavailable as error:
        print("refused", path)
try:
    import random
    noise = "".join(random.Random(1).choices("abcdefghijklmnop", k=200_000))
    table.append([Change("b", Document("b", "t", noise), "r2")])
except Exception:
    print("append refused")
"""
    folder = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == ["refused whole", "refused new", "append refused"]
    store = Store.open(str(folder))
    assert store.read("whole") == b"before"
    assert not store.exists("new")
    from realm.corpus.table import CorpusTable

    table = CorpusTable(store)
    assert table.version == 1
    kept, lost = table.lookup("a")(), table.lookup("b")()
    assert kept is not None
    assert kept.document is not None
    assert kept.document.text == "kept"
    assert lost is None

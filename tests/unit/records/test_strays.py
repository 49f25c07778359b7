"""What is passed over is told, each by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from realm.records.generations import Generations
from realm.records.leaders import Leaders, Term
from realm.records.states import State
from realm.records.store import Store
from realm.records.strays import DAMAGED, STRAY, Strays
from tests.unit.indexer.examples import create, publish


@pytest.fixture
def root(tmp_path: Path) -> Path:
    store = Store.open(str(tmp_path / "store"))
    publish(store, tmp_path / "1", 1)
    create(store, 1, State.LIVE)
    generations = Generations(store)
    generations.commit(1, after=None, by="test", why="")
    generations.record_applied(1, 3)
    Leaders(store).claim(Term(1, "me", "", 0.0, 0))
    Leaders(store).beat(1, 1)
    store.write("passages/f/001-000/a.arrow", b"")
    store.write("corpus/_delta_log/00000000000000000000.json", b"")
    assert store.root
    return store.root


def test_of_a_store_in_order_nothing_is_told(root: Path) -> None:
    assert Strays(Store.open(str(root))).scan() == []


@pytest.mark.parametrize(
    "path",
    ["live/notes.txt", "live/00000001.json~", "generations/00000001/events/x.json",
     "generations/00000001/applied/x", "snapshots/README", "snapshots/pins/x", "corpus/x",
     "corpus/_delta_log/x.json", ".DS_Store", "live/.nfs0001", "generations/backup/manifest.json",
     "control/leader/x", "passages/x", "vectors/x", "refused/x.json", "checkpoints/x"],
)  # fmt: skip
def test_a_stray_file_is_told(root: Path, path: str) -> None:
    strays = Strays(Store.open(str(root)))
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("none of ours")
    assert (path, STRAY) in {(each.path, each.kind) for each in strays.scan()}


def test_an_empty_generation_is_told(root: Path) -> None:
    (root / "generations/00000002").mkdir()
    (found,) = Strays(Store.open(str(root))).scan()
    assert (found.path, found.why) == ("generations/00000002", "a generation without a manifest")


@pytest.mark.parametrize(
    "pattern",
    ["live/*.json", "generations/*/manifest.json", "generations/*/events/*.json",
     "snapshots/*/manifest.json", "control/leader/*.json"],
)  # fmt: skip
def test_a_damaged_record_is_told_and_no_longer_when_it_is_mended(root: Path, pattern: str) -> None:
    strays = Strays(Store.open(str(root)))
    assert strays.scan() == []
    (file,) = root.glob(pattern)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"1", b"2", 1))
    (found,) = strays.scan()
    assert found.path == file.relative_to(root).as_posix()
    assert found.kind == DAMAGED
    assert "checksum" in found.why
    file.write_bytes(whole)
    assert strays.scan() == []

"""Files that are none of ours, and records that are damaged, wedge nobody: all else goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.errors import Corrupt
from realm.records.controls import Controls
from realm.records.failures import failures, quarantined
from realm.records.generations import Generations
from realm.records.leaders import Leaders, Term
from realm.records.retention import Retention
from realm.records.snapshots import Snapshots
from realm.records.states import State
from realm.records.store import Store
from realm.settings import load_settings
from services.gateway.view import StoreView
from services.indexer.indexer import Indexer
from services.indexer.metrics import IndexerMetrics
from services.trainer.checkpoints import Checkpoints
from tests.unit.indexer.examples import create, publish

NOWHERE = "127.0.0.1:1"
FOLDERS = [
    "", "live", "generations", "generations/00000002", "generations/00000002/events",
    "generations/00000002/applied", "generations/00000002/deltas", "snapshots", "snapshots/pins",
    "snapshots/claims", "control", "control/leader", "control/refreshes", "control/late",
    "quarantine", "refused", "passages", "passages/f", "passages/f/changes", "vectors",
    "vectors/strange", "checkpoints", "checkpoints/0000000010", "recorded", "corpus",
    "corpus/_delta_log", "parked",
]  # fmt: skip
NAMES = [
    ".nfs000000000012345", ".DS_Store", "notes.txt", "00000002.json~", "00000009.json.swp",
    "00000009.json.part", "#00000002.json#", "00000002 (copy).json", "99", "x-y-z",
    "00000001.json#7", "Thumbs.db",
]  # fmt: skip


@pytest.fixture
def world(store: Store, tmp_path: Path) -> Store:
    """Two generations of two snapshots, the second live; a leader, a pin, a request."""
    generations = Generations(store)
    for number in (1, 2):
        publish(store, tmp_path / str(number), number)
        create(store, number, State.RETAINED if number == 1 else State.LIVE, snapshot=number)
        generations.commit(number, after=generations.live(), by="test", why="")
        generations.record_applied(number, 5)
    Leaders(store).claim(Term(1, "elsewhere", "there:1", 0.0, 0))
    Snapshots(store).pin(1, "the one of the paper")
    Controls(store).request_refresh("test")
    Controls(store).pause(True, "test")
    return store


@pytest.fixture
def indexer(store: Store, world: Store) -> Indexer:
    settings = load_settings(
        store_url=store.url, redis_url=f"redis://{NOWHERE}/0", qdrant_url=f"http://{NOWHERE}"
    )
    return Indexer(settings, store, IndexerMetrics(CollectorRegistry()))


def at(store: Store, path: str) -> Path:
    assert store.root
    return store.root / path


def goes_on(store: Store) -> None:
    """Everything that reads folders of the store reads them."""
    generations, snapshots = Generations(store), Snapshots(store)
    retention = Retention(store, snapshots, generations, 900.0)
    assert not {each.kind for each in retention.plan(1e12)} & {"snapshot", "collection"}
    assert generations.live_history()
    assert snapshots.newest()
    assert snapshots.pinned() == {1: "the one of the paper"}
    assert Leaders(store).newest()
    Leaders(store).forget_old()
    assert Controls(store).refresh_request()
    assert Controls(store).paused()
    assert failures(store) == []
    assert quarantined(store) == {}
    assert Checkpoints(store)._manifests() == []
    assert StoreView(store).read(set()).entry


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_stray_file_wedges_nobody(indexer: Indexer, store: Store, folder: str) -> None:
    at(store, folder).mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        at(store, folder).joinpath(name).write_text("none of ours")
    goes_on(store)
    indexer.committer.fence(0)
    indexer.reconciler.tick()
    generations = Generations(store)
    assert [generations.state(number) for number in (1, 2)] == [State.RETAINED, State.LIVE]
    assert generations.applied(2) == (99 if folder.endswith("applied") else 5)
    generations.record(2, State.LIVE, "still")
    entry = generations.live()
    assert entry
    assert generations.commit(1, after=entry, by="test", why="rollback").generation == 1


def test_a_stray_file_among_deltas_does_not_end_the_comparison_of_points(
    indexer: Indexer, store: Store
) -> None:
    made = create(store, 3, State.RETAINED, files=("passages/f/001-000/none.arrow",))
    at(store, f"{made.folder}/deltas").mkdir(parents=True)
    for name in NAMES:
        at(store, f"{made.folder}/deltas/{name}").write_text("none of ours")
    assert indexer.integrity.sample(made) == ""


@pytest.mark.parametrize("name", ["00000003", "00000003/events", "7", "backup", ".hidden"])
def test_a_stray_folder_wedges_nobody_and_its_number_is_not_used_again(
    indexer: Indexer, store: Store, name: str
) -> None:
    at(store, "generations").joinpath(name).mkdir(parents=True)
    indexer.reconciler.tick()
    goes_on(store)
    generations = Generations(store)
    assert generations.numbers() == [1, 2]
    first = name.split("/")[0]
    assert generations.next_number() == (int(first) + 1 if first.isdecimal() else 3)


def altered(path: Path) -> None:
    """A value is another one, and the rest as it was."""
    raw = json.loads(path.read_text())
    key = next(key for key in ("corpus_version", "generation", "step", "at") if key in raw)
    path.write_text(json.dumps({**raw, key: raw[key] + 1}))


def renamed_key(path: Path) -> None:
    """In a record of before there were checksums."""
    raw = json.loads(path.read_text())
    del raw["checksum"]
    key = next(key for key in ("snapshot", "generation", "files", "state") if key in raw)
    path.write_text(json.dumps({f"{key}x" if name == key else name: raw[name] for name in raw}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:30])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [altered, renamed_key, cut, emptied]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_generation_is_set_aside_and_all_else_goes_on(
    indexer: Indexer, store: Store, damage: Callable[[Path], None]
) -> None:
    damage(at(store, "generations/00000001/manifest.json"))
    with pytest.raises(Corrupt, match="00000001"):
        Generations(store).get(1)
    indexer.reconciler.tick()
    goes_on(store)
    generations = Generations(store)
    assert generations.numbers() == [2]
    assert generations.set_aside() == [1]
    assert generations.next_number() == 3
    retention = Retention(store, Snapshots(store), generations, 900.0)
    assert retention.plan(1e12, collections=["passages-00000001"]) == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_live_generation_s_manifest_is_damaged(
    indexer: Indexer, store: Store, damage: Callable[[Path], None]
) -> None:
    """The leader says so and begins another one; gateways that hold it go on."""
    reader = StoreView(store)
    reader.read({2})
    damage(at(store, "generations/00000002/manifest.json"))
    indexer.committer.fence(0)
    indexer.reconciler.tick()
    view = reader.read({2})
    assert view.entry
    assert view.entry.generation == 2
    assert view.freshness[2].corpus_version == 5
    restarted = StoreView(store).read(set())
    assert restarted.entry
    assert restarted.freshness == {}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_newest_live_entry_is_damaged(
    indexer: Indexer, store: Store, damage: Callable[[Path], None]
) -> None:
    """Who holds it goes on; the next leader puts again what events say is live."""
    holding = Generations(store)
    assert holding.live()
    damage(at(store, "live/00000002.json"))
    assert (entry := holding.live())
    assert entry.generation == 2
    assert (entry := Generations(store).live())
    assert entry.generation == 1
    indexer.committer.fence(0)
    assert (entry := Generations(store).live())
    assert (entry.sequence, entry.generation) == (3, 2)
    indexer.committer.fence(0)
    assert Generations(store).live() == entry
    indexer.reconciler.tick()
    goes_on(store)


def test_of_two_who_commit_after_a_damaged_entry_one_does(world: Store) -> None:
    cut(at(world, "live/00000002.json"))
    entry = Generations(world).live()
    assert entry
    first, second = Generations(world), Generations(world)
    assert first.commit(1, after=entry, by="one", why="").sequence == 3
    with pytest.raises(Exception, match="exists already"):
        second.commit(1, after=entry, by="two", why="")


@pytest.mark.parametrize("damage", DAMAGES[:1] + DAMAGES[2:])
def test_a_damaged_event_is_passed_over(
    indexer: Indexer, store: Store, damage: Callable[[Path], None]
) -> None:
    generations = Generations(store)
    generations.record(2, State.LIVE, "again")
    damage(at(store, "generations/00000002/events/000002.json"))
    assert Generations(store).state(2) is State.LIVE
    assert Generations(store).record(2, State.LIVE).sequence == 3
    indexer.reconciler.tick()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_snapshot_is_set_aside_and_kept(
    indexer: Indexer, store: Store, damage: Callable[[Path], None]
) -> None:
    (folder,) = [name for name in store.folders("snapshots") if name.startswith("00000002")]
    damage(at(store, f"snapshots/{folder}/manifest.json"))
    snapshots = Snapshots(store)
    assert [each.number for each in snapshots.all()] == [1]
    assert (newest := snapshots.newest())
    assert newest.number == 1
    indexer.reconciler.tick()
    retention = Retention(store, snapshots, Generations(store), 900.0)
    assert folder not in {each.name for each in retention.plan(1e12)}

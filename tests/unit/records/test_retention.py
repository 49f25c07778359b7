"""What may go never holds what somebody needs: over random stores."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realm.corpus.changes import changes_file
from realm.records.baselines import PROBE_RECALL
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.retention import Retention
from realm.records.snapshots import Snapshots
from realm.records.states import ACTIVE, Ages, State
from realm.records.store import Store
from realm.records.vectors import vector_file

RETIREMENT = 900.0
DAY = 86_400.0

build = st.fixed_dictionaries(
    {
        "state": st.sampled_from([*State, None]),
        "snapshot": st.integers(1, 4),
        "fingerprint": st.sampled_from(["f", "g"]),
        "version": st.integers(0, 9),
        "files": st.sets(st.integers(0, 2), min_size=1),
        "figure": st.none() | st.floats(0, 1),
    }
)
stores = st.fixed_dictionaries(
    {
        "builds": st.lists(build, max_size=4),
        "snapshots": st.integers(0, 4),
        "pinned": st.sets(st.integers(1, 4)),
        "strays": st.sets(st.tuples(st.sampled_from(["f", "g"]), st.integers(0, 6))),
        "steps": st.sets(st.tuples(st.sampled_from(["f", "g"]), st.integers(0, 9))),
        "erased": st.integers(0, 9),
    }
)


def passage_file(fingerprint: str, number: int) -> str:
    return f"passages/{fingerprint}/001-000/p{number}.arrow"


def fill(store: Store, folder: Path, given: dict[str, Any]) -> None:
    snapshots, generations = Snapshots(store), Generations(store)
    (folder / "config.json").write_text("{}")
    for _ in range(given["snapshots"]):
        made = snapshots.publish(folder, step=1, fingerprint="f", vector_size=2)
        for fingerprint in ("f", "g"):
            for number in range(3):
                store.write(vector_file(made.name, passage_file(fingerprint, number)), b"")
        if made.number in given["pinned"]:
            snapshots.pin(made.number)
    for fingerprint, number in given["strays"]:
        store.write(passage_file(fingerprint, number), b"")
    for fingerprint, after in given["steps"]:
        store.write(changes_file(fingerprint, after, after + 1), b"")
    for number, each in enumerate(given["builds"], 1):
        files = tuple(passage_file(each["fingerprint"], name) for name in sorted(each["files"]))
        generation = Generation(
            number, each["snapshot"], 1, each["version"], each["fingerprint"], 2, files,
            collection_name(number), time.time(), "",
        )  # fmt: skip
        generations.create(generation)
        for path in files:
            store.write(path, b"")
        store.write(generation.delta_file(each["version"], each["version"] + 1), b"")
        if each["state"] is not None:
            report = {} if each["figure"] is None else {PROBE_RECALL: each["figure"]}
            generations.record(number, each["state"], "", report)


@settings(max_examples=25, deadline=None)
@given(stores, st.sampled_from([0.0, DAY]))
def test_nothing_goes_that_is_needed(given: dict[str, Any], later: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = Store.open(f"{name}/store")
        fill(store, Path(name), given)
        snapshots, generations = Snapshots(store), Generations(store)
        retention = Retention(
            store, snapshots, generations, RETIREMENT, gate_memory=2, age=lambda *_: later
        )
        collections = [collection_name(number) for number in range(1, 10)]
        plan = retention.plan(time.time(), given["erased"], collections)
        going = {each.name for each in plan if each.kind != "snapshot"}
        snapshots_going = {int(each.name) for each in plan if each.kind == "snapshot"}
        there = {each.number: each for each in snapshots.all()}
        if there:
            assert max(there) not in snapshots_going
        assert not snapshots_going & given["pinned"]
        for number in generations.numbers():
            made, state = generations.get(number), generations.state(number)
            if state is not None and state not in ACTIVE:
                continue
            assert made.snapshot not in snapshots_going
            assert made.collection not in going
            assert not any(path.startswith(made.folder) for path in going)
            if made.snapshot not in there:
                continue
            assert not going & set(made.passage_files)
            name = there[made.snapshot].name
            assert not going & {vector_file(name, path) for path in made.passage_files}
            for fingerprint, after in given["steps"]:
                if fingerprint == made.fingerprint and after >= made.corpus_version:
                    assert changes_file(fingerprint, after, after + 1) not in going


@settings(max_examples=15, deadline=None)
@given(stores)
def test_what_is_left_is_bounded_by_what_is_needed(given: dict[str, Any]) -> None:
    """After all is carried out, every file of passages and vectors has somebody who needs it."""
    with tempfile.TemporaryDirectory() as name:
        store = Store.open(f"{name}/store")
        fill(store, Path(name), given)
        snapshots, generations = Snapshots(store), Generations(store)
        retention = Retention(store, snapshots, generations, RETIREMENT, age=lambda *_: DAY)
        now = time.time()
        for each in retention.plan(now):
            if each.kind not in ("snapshot", "collection"):
                store.delete(each.name)
        needed = retention.needed()
        if not needed.generations:
            return
        left = {path for path in store.files("passages") if "/changes/" not in path}
        assert left <= needed.passages
        for path in store.files("vectors"):
            number = int(path.split("/")[1].split("-")[0])
            assert path in needed.vectors or number > needed.newest
        assert retention.plan(now) == [
            each for each in retention.plan(now) if each.kind == "snapshot"
        ]


def test_an_orphaned_collection_goes_and_a_stranger_s_stays(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "model").mkdir()
    build = {
        "state": State.DELETED, "snapshot": 1, "fingerprint": "f", "version": 1, "files": {0},
        "figure": None,
    }  # fmt: skip
    given = {
        "snapshots": 1, "pinned": set(), "strays": set(), "steps": set(), "erased": 0,
        "builds": [build, {**build, "state": State.LIVE}],
    }  # fmt: skip
    fill(store, tmp_path / "model", given)
    retention = Retention(store, Snapshots(store), Generations(store), RETIREMENT)
    names = ["passages-00000001", "passages-00000002", "passages-00000003", "mine", "passages-1"]
    plan = retention.plan(time.time(), collections=names)
    assert [each.name for each in plan if each.kind == "collection"] == ["passages-00000001"]


def test_half_a_snapshot_goes_when_its_publisher_cannot_be_at_it_any_more(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    (tmp_path / "model").mkdir()
    build = {
        "state": State.LIVE, "snapshot": 1, "fingerprint": "f", "version": 1, "files": {0},
        "figure": None,
    }  # fmt: skip
    given = {
        "snapshots": 1, "pinned": set(), "strays": set(), "steps": set(), "erased": 0,
        "builds": [build],
    }  # fmt: skip
    fill(store, tmp_path / "model", given)
    store.write("snapshots/00000002-abc/reader.safetensors", b"half")
    now = [0.0]
    ages = Ages(lambda: now[0])
    retention = Retention(store, Snapshots(store), Generations(store), RETIREMENT, age=ages.of)
    half = "half a snapshot"
    # That the store's clock is a day behind says nothing: it was first seen just now.
    day_ago = time.time() - DAY
    assert store.root is not None
    os.utime(store.root / "snapshots/00000002-abc/reader.safetensors", (day_ago, day_ago))
    assert not [each for each in retention.plan(time.time()) if each.kind == half]
    now[0] = DAY
    (found,) = [each for each in retention.plan(time.time()) if each.kind == half]
    assert (found.name, found.size) == ("snapshots/00000002-abc", 4)

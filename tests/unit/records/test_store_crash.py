"""A folder store is durable on return: power is cut at every point of what it does."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realm.errors import Conflict, NotFound
from realm.records.store import Store
from tests.crash import Disk

PATHS = ["live/1", "a/b/c/deep", "top", "a/b/other"]
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "create", "delete"]), st.sampled_from(PATHS)),
    min_size=1,
    max_size=6,
)
#: What a path may hold; None: nothing.
Content = bytes | None


def run(folder: Path, steps: list[tuple[str, str]], *, syncs: bool = True) -> None:
    """Every call that returned before the cut is there; the one under way may be."""
    disk = Disk(folder / "disk", syncs=syncs)
    disk.root.mkdir()
    #: What each path holds for certain, or may hold, after so many operations.
    acknowledged: list[tuple[int, dict[str, set[Content]]]] = []
    now: dict[str, Content] = dict.fromkeys(PATHS)
    with disk.recording():
        store = Store.open(str(disk.root / "new" / "store"))
        acknowledged.append((len(disk.ops), {path: {now[path]} for path in PATHS}))
        for number, (kind, path) in enumerate(steps):
            before, data = now[path], f"{kind} {number} of some length".encode()
            if kind == "write":
                store.write(path, data)
                now[path] = data
            elif kind == "delete":
                store.delete(path)
                now[path] = None
            else:
                try:
                    store.create(path, data)
                    now[path] = data
                except Conflict:
                    pass
            begun, _ = acknowledged[-1]
            during = {each: {now[each]} for each in PATHS} | {path: {before, now[path]}}
            acknowledged[-1] = begun, during
            acknowledged.append((len(disk.ops), {each: {now[each]} for each in PATHS}))
    for cut in range(acknowledged[0][0], len(disk.ops) + 1):
        allowed = [may for since, may in acknowledged if since <= cut][-1]
        for seed in range(3):
            left = folder / f"left-{cut}-{seed}"
            disk.after(cut, random.Random(seed), left)
            found = Store.open(str(left / "new" / "store"))
            for path in PATHS:
                assert content(found, path) in allowed[path], (steps, cut, seed, path)
            assert set(found.files("")) <= set(PATHS)


def content(store: Store, path: str) -> Content:
    try:
        return store.read(path)
    except NotFound:
        return None


@settings(max_examples=12, deadline=None)
@given(STEPS)
def test_what_was_put_survives_a_power_cut_at_any_point(steps: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), steps)


def test_without_syncs_the_power_cut_would_be_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(tmp_path, [("write", "live/1"), ("create", "a/b/c/deep")], syncs=False)

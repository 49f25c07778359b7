"""The store: whole files, conditional puts, checksums."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from realm.errors import BadSettings, Conflict, Corrupt, InvalidInput, NotFound
from realm.records.folder import PARTIAL
from realm.records.store import Store


def test_files_are_written_read_listed_and_deleted(either_store: Store) -> None:
    store = either_store
    assert store.files("") == [], "opening leaves nothing behind"
    store.write("a/one", b"\x00\xff")
    store.write("a/b/two", b"22")
    store.write("a/b/two", b"2")
    assert store.read("a/one") == b"\x00\xff"
    assert store.files("a") == ["a/b/two", "a/one"]
    assert [(each.path, each.size) for each in store.entries("a")] == [("a/b/two", 1), ("a/one", 2)]
    assert (store.folders("a"), store.folders("none"), store.files("none")) == (["b"], [], [])
    store.delete("a/one")
    store.delete("a/one")
    assert not store.exists("a/one")
    with pytest.raises(NotFound, match="a/one"):
        store.read("a/one")
    store.delete_folder("a/b")
    store.delete_folder("a/b")
    assert store.folders("") == []


def test_of_many_creators_at_once_exactly_one_wins(either_store: Store) -> None:
    winners: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait(10)
        try:
            either_store.create("live/1", str(number).encode())
        except Conflict:
            return
        winners.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(winners) == 1
    assert either_store.read("live/1") == str(winners[0]).encode()


def test_a_local_copy_with_one_flipped_bit_is_refused(store: Store) -> None:
    store.write("weights", b"\x01\x02")
    digest = hashlib.sha256(b"\x01\x02").hexdigest()
    assert store.local("weights", digest).read_bytes() == b"\x01\x02"
    store.write("weights", b"\x01\x03")
    with pytest.raises(Corrupt, match="weights"):
        store.local("weights", digest)


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match="cannot be opened"):
        Store.open(str(tmp_path / "file" / "store"))


@pytest.mark.parametrize(
    "path", ["../out", "a/../../out", "/etc/hostname", "a//b", "a/./b", "", "a\0"]
)
def test_a_path_that_leaves_the_store_is_refused(store: Store, path: str) -> None:
    for use in (
        lambda: store.read(path),
        lambda: store.open_file(path),
        lambda: store.write(path, b"x"),
        lambda: store.create(path, b"x"),
        lambda: store.exists(path),
        lambda: store.delete(path),
        lambda: store.local(path, hashlib.sha256(b"").hexdigest()),
    ):
        with pytest.raises(InvalidInput, match="no path inside a store"):
            use()


@pytest.mark.parametrize("prefix", ["..", "../", "a/..", "/etc"])
def test_a_folder_outside_the_store_is_not_listed(store: Store, prefix: str) -> None:
    for use in (store.files, store.entries, store.folders, store.delete_folder):
        with pytest.raises(InvalidInput):
            use(prefix)


def test_hidden_files_are_nobody_s(store: Store) -> None:
    store.write("live/1", b"")
    assert store.root
    (store.root / "live" / ".nfs00000000012345").write_bytes(b"")
    (store.root / ".DS_Store").write_bytes(b"")
    (store.root / "live" / ".hidden").mkdir()
    assert store.files("") == ["live/1"]
    assert [entry.path for entry in store.entries("live")] == ["live/1"]
    assert store.folders("live") == []


def test_folders_that_somebody_removed_are_made_again(store: Store) -> None:
    store.write("a/b", b"1")
    assert store.root
    shutil.rmtree(store.root / "a")
    shutil.rmtree(store.root / PARTIAL)
    store.create("a/b", b"2")
    shutil.rmtree(store.root / PARTIAL)
    store.write("a/b", b"3")
    assert store.read("a/b") == b"3"


FOLDER_NAMES = st.text(
    st.one_of(
        st.sampled_from("%[]*?#{}|^<>;:&=+~`'\"\\\n\t $!@ab\u00e9\u65e5"),
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]),
    ),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@settings(max_examples=60, deadline=None)
@given(FOLDER_NAMES)
@example("feature%2Flogin")
@example("data[1]")
def test_a_store_works_in_a_folder_of_any_name(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"{folder}/{name}")
        store.write("a/b", b"1")
        store.create("a/c", b"2")
        assert store.root
        assert (Path(folder) / name / "a" / "b").read_bytes() == b"1"
        assert store.files("") == ["a/b", "a/c"]
        assert store.folders("") == ["a"]
        assert store.local("a/c", hashlib.sha256(b"2").hexdigest()).read_bytes() == b"2"
        store.delete_folder("a")
        assert store.files("") == []


def test_a_full_folder_refuses_and_keeps_what_it_had(tmp_path: Path) -> None:
    code = """
import resource, sys
from realm.errors import DependencyUnavailable
from realm.records.store import Store
store = Store.open(sys.argv[1])
store.write("a", b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for put in (store.write, store.create):
    try:
        put("a" if put == store.write else "b", b"new")
    except DependencyUnavailable as error:
        print("refused", error.details["file"])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(store.read("a"), store.files(""))
store.create("b", b"new")
"""
    run = [sys.executable, "-c", code, str(tmp_path / "store")]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines() == ["refused a", "refused b", "b'old' ['a']"]
    assert list((tmp_path / "store" / PARTIAL).iterdir()) == []

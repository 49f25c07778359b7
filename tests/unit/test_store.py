"""The store: whole files, conditional puts, checksums."""

import hashlib
import threading
from pathlib import Path

import pytest

from realm.errors import BadSettings, Conflict, Corrupt, NotFound
from realm.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def test_a_file_is_read_as_it_was_written(store: Store) -> None:
    store.write("a/b.bin", b"\x00\xff")
    assert store.read("a/b.bin") == b"\x00\xff"


def test_a_missing_file_is_named(store: Store) -> None:
    with pytest.raises(NotFound, match=r"a/none\.bin"):
        store.read("a/none.bin")


def test_a_second_create_is_refused_and_changes_nothing(store: Store) -> None:
    store.create("live/1", b"first")
    with pytest.raises(Conflict):
        store.create("live/1", b"second")
    assert store.read("live/1") == b"first"


def test_of_many_creators_at_once_exactly_one_wins(store: Store) -> None:
    winners: list[int] = []
    barrier = threading.Barrier(8)

    def create(number: int) -> None:
        barrier.wait(10)
        try:
            store.create("live/1", str(number).encode())
        except Conflict:
            return
        winners.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(winners) == 1
    assert store.read("live/1") == str(winners[0]).encode()


def test_files_and_folders_are_listed_in_order(store: Store) -> None:
    for path in ("g/2/x", "g/1/y", "g/1/a", "other"):
        store.write(path, b"")
    assert store.files("g") == ["g/1/a", "g/1/y", "g/2/x"]
    assert store.folders("g") == ["1", "2"]
    assert store.files("nothing") == []
    assert store.folders("nothing") == []


def test_a_deleted_folder_is_no_longer_listed(store: Store) -> None:
    store.write("g/1/deep/x", b"")
    store.write("g/2/x", b"")
    store.delete_folder("g/1")
    assert store.folders("g") == ["2"]


def test_deleting_what_is_not_there_is_no_error(store: Store) -> None:
    store.delete("none")
    store.delete_folder("none")


def test_a_local_copy_with_one_flipped_bit_is_refused(store: Store) -> None:
    store.write("weights", b"\x01\x02")
    digest = hashlib.sha256(b"\x01\x02").hexdigest()
    assert store.local("weights", digest).read_bytes() == b"\x01\x02"
    store.write("weights", b"\x01\x03")
    with pytest.raises(Corrupt, match="weights"):
        store.local("weights", digest)


def test_broken_json_is_named(store: Store) -> None:
    store.write("x.json", b"{")
    with pytest.raises(Corrupt, match=r"x\.json"):
        store.read_json("x.json")


def test_a_store_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match="cannot be opened"):
        Store.open(str(tmp_path / "file" / "store"))


def test_opening_leaves_nothing_behind(store: Store) -> None:
    assert store.files("") == []

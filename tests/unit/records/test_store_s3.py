"""The store in a bucket, against moto's S3."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from realm.corpus.documents import Document
from realm.corpus.table import Change, CorpusTable
from realm.errors import BadSettings, Conflict, Corrupt, DependencyUnavailable, NotFound
from realm.records import bucket
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from tests.s3 import BUCKET, S3Server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    made = S3Server()
    yield made
    made.stop()


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    server.use(monkeypatch)
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})
    return server


@pytest.fixture
def store(s3: S3Server, tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"{s3.url}/{tmp_path.name}/", str(tmp_path / "copies"))
    yield made
    made.delete_folder("")


def test_files_are_written_read_listed_and_deleted(store: Store) -> None:
    store.write("a/one", b"1")
    store.write("a/b/two", b"22")
    assert store.read("a/one") == b"1"
    assert store.files("a") == ["a/b/two", "a/one"]
    assert [(each.path, each.size) for each in store.entries("a")] == [("a/b/two", 2), ("a/one", 1)]
    assert store.folders("a") == ["b"]
    store.delete("a/one")
    store.delete("a/one")
    assert not store.exists("a/one")
    with pytest.raises(NotFound):
        store.read("a/one")


def test_of_many_creators_at_once_exactly_one_wins(store: Store) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        try:
            store.create("live/00000001.json", str(number).encode())
        except Conflict:
            return
        won.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.read("live/00000001.json") == str(won[0]).encode()


def test_a_snapshot_comes_back_as_it_was_and_a_flipped_bit_is_found(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(bytes(1000))
    snapshots = Snapshots(store)
    made = snapshots.publish(folder, step=1, fingerprint="f", vector_size=2)
    found = snapshots.materialise(made)
    assert (found / "weights").read_bytes() == bytes(1000)
    other = Store.open(store.url, str(tmp_path / "elsewhere"))
    store.write(f"{made.folder}/weights", b"\1" + bytes(999))
    with pytest.raises(Corrupt, match="weights"):
        Snapshots(other).materialise(made)


def test_of_two_writers_of_one_corpus_version_the_second_is_refused(store: Store) -> None:
    one, two = CorpusTable(store), CorpusTable(store)
    assert one.append([Change("d", Document("d", "t", "x"), "r1")]) == 1
    with pytest.raises(Conflict):
        two.append([Change("d", Document("d", "t", "y"), "r2")])
    assert two.refresh() == 1
    found = two.get("d")
    assert found is not None
    assert found.document == Document("d", "t", "x")


def test_a_store_without_conditional_put_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = S3Server(conditional=False)
    try:
        deaf.use(monkeypatch)
        with pytest.raises(BadSettings, match="conditional put"):
            Store.open(deaf.url)
    finally:
        deaf.stop()


def test_a_bucket_that_is_not_there_is_a_wrong_setting(s3: S3Server) -> None:
    with pytest.raises(BadSettings, match="cannot be used"):
        Store.open("s3://another-bucket/place")


def test_a_store_that_is_down_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = S3Server()
    server.use(monkeypatch)
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})
    server.stop()
    with pytest.raises(DependencyUnavailable):
        Store.open(server.url)
    again = threading.Timer(0.3, server.start)
    again.start()
    try:
        Store.await_open(server.url, pause=0.1).write("here", b"")
    finally:
        again.join()
        server.stop()


def test_copies_that_nobody_asks_for_go(store: Store, tmp_path: Path) -> None:
    import hashlib
    import os

    store.write("old", b"old")
    store.write("new", b"new")
    old = store.local("old", hashlib.sha256(b"old").hexdigest())
    os.utime(old, (1.0, 1.0))
    new = store.local("new", hashlib.sha256(b"new").hexdigest())
    assert (old.exists(), new.exists()) == (False, True)
    assert store.local("old", hashlib.sha256(b"old").hexdigest()).read_bytes() == b"old"


def test_the_bucket_s_name_is_part_of_the_url(store: Store) -> None:
    assert store.url.startswith(f"s3://{BUCKET}/")
    assert not store.url.endswith("/")

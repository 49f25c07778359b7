"""The store in a bucket, against moto's S3."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from bench.apparatus.s3 import BUCKET, Failure, S3Fault, S3Server
from realm.errors import BadSettings, Conflict, Corrupt, DependencyUnavailable
from realm.records import bucket
from realm.records.snapshots import Snapshots
from realm.records.store import Store


def test_a_snapshot_comes_back_as_it_was_and_a_flipped_bit_is_found(
    bucket_store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "weights").write_bytes(bytes(1000))
    snapshots = Snapshots(bucket_store)
    made = snapshots.publish(folder, step=1, fingerprint="f", vector_size=2)
    found = snapshots.materialise(made)
    assert (found / "weights").read_bytes() == bytes(1000)
    other = Store.open(bucket_store.url, str(tmp_path / "elsewhere"))
    bucket_store.write(f"{made.folder}/weights", b"\1" + bytes(999))
    with pytest.raises(Corrupt, match="weights"):
        Snapshots(other).materialise(made)


def test_a_store_without_conditional_put_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = S3Server(conditional=False)
    try:
        deaf.use(monkeypatch.setenv)
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
    server.use(monkeypatch.setenv)
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


def test_copies_that_nobody_asks_for_go(bucket_store: Store, tmp_path: Path) -> None:
    import hashlib
    import os

    bucket_store.write("old", b"old")
    bucket_store.write("new", b"new")
    old = bucket_store.local("old", hashlib.sha256(b"old").hexdigest())
    os.utime(old, (1.0, 1.0))
    new = bucket_store.local("new", hashlib.sha256(b"new").hexdigest())
    assert (old.exists(), new.exists()) == (False, True)
    assert bucket_store.local("old", hashlib.sha256(b"old").hexdigest()).read_bytes() == b"old"


def test_the_bucket_s_name_is_part_of_the_url(bucket_store: Store) -> None:
    assert bucket_store.url.startswith(f"s3://{BUCKET}/")
    assert not bucket_store.url.endswith("/")


@pytest.mark.parametrize("failure", [Failure.LOST_REPLY, Failure.LATE_ERROR])
def test_who_creates_a_file_and_hears_nothing_of_it_knows_it_again(
    bucket_store: Store, s3: S3Server, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 30, "retry_timeout": timedelta(60)})
    monkeypatch.setattr(bucket, "FIRST_PAUSE_SECONDS", 0.001)
    s3.faults = [S3Fault(failure, share=0.5)]
    try:
        for number in range(10):
            bucket_store.create(f"live/{number}", b"mine")
            with pytest.raises(Conflict):
                bucket_store.create(f"live/{number}", b"another's")
    finally:
        s3.faults = []
    assert s3.hits[failure] > 0

"""Which requests a fault of the S3 concerns, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.apparatus.s3 import Failure, S3Fault, S3Server, set_faults, variables
from realm.errors import Conflict, DependencyUnavailable
from realm.records import bucket
from realm.records.store import Store


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    made = S3Server()
    yield made
    made.stop()


@pytest.fixture
def store(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """As the process `indexer` opens it; it tries nothing again."""
    for name, value in variables(server.endpoint, "indexer").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})
    yield Store.open(f"{server.url}/{tmp_path.name}")
    server.faults = []


@pytest.mark.parametrize(
    ("fault", "fails"),
    [
        (S3Fault(Failure.SLOW_DOWN), True),
        (S3Fault(Failure.SLOW_DOWN, process="indexer", prefix="live/"), True),
        (S3Fault(Failure.INTERNAL_ERROR, process="gateway"), False),
        (S3Fault(Failure.INTERNAL_ERROR, prefix="corpus/"), False),
        (S3Fault(Failure.INTERNAL_ERROR, share=0.0), False),
        (S3Fault(Failure.FULL), False),
        (S3Fault(Failure.LOST_REPLY), False),
        (S3Fault(Failure.SLOW, seconds=0.01), False),
    ],
)
def test_a_fault_concerns_its_process_its_folder_and_its_method(
    server: S3Server, store: Store, fault: S3Fault, fails: bool
) -> None:
    store.write("live/1", b"one")
    set_faults(server.endpoint, [fault])
    if fails:
        with pytest.raises(DependencyUnavailable):
            store.read("live/1")
    else:
        assert store.read("live/1") == b"one"
        assert store.files("live") == ["live/1"]


@pytest.mark.parametrize("failure", [Failure.LOST_REPLY, Failure.LATE_ERROR])
def test_a_change_takes_place_although_its_answer_fails(
    server: S3Server, store: Store, failure: Failure
) -> None:
    server.faults = [S3Fault(failure)]
    with pytest.raises(DependencyUnavailable):
        store.create("live/2", b"two")
    server.faults = []
    assert store.read("live/2") == b"two"
    with pytest.raises(Conflict):
        store.create("live/2", b"two")


def test_what_is_refused_does_not_take_place(server: S3Server, store: Store) -> None:
    server.faults = [S3Fault(Failure.FULL), S3Fault(Failure.SLOW_DOWN, prefix="live/")]
    for path in ("live/3", "corpus/3"):
        with pytest.raises(DependencyUnavailable):
            store.write(path, b"three")
    server.faults = []
    assert not store.exists("live/3")
    assert not store.exists("corpus/3")

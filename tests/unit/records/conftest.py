"""A store in each of its two places: a folder, and a bucket of moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.apparatus.s3 import S3Server
from realm.records import bucket
from realm.records.store import Store


@pytest.fixture(scope="package")
def s3_server() -> Iterator[S3Server]:
    made = S3Server()
    yield made
    made.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3_server.use(monkeypatch.setenv)
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})
    return s3_server


@pytest.fixture
def bucket_store(s3: S3Server, tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"{s3.url}/{tmp_path.name}/", str(tmp_path / "copies"))
    yield made
    made.delete_folder("")


@pytest.fixture(params=["store", "bucket_store"])
def either_store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(request.param)
    return found

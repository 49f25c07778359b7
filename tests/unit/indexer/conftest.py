from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from realm.process import threads
from realm.records.store import Store
from services.indexer.metrics import IndexerMetrics


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def metrics() -> IndexerMetrics:
    return IndexerMetrics(CollectorRegistry())


@pytest.fixture(autouse=True)
def _a_dead_thread_does_not_end_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "exit_or_kill_after", lambda code, seconds: None)

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from realm.process import threads
from services.indexer.metrics import IndexerMetrics


@pytest.fixture
def metrics() -> IndexerMetrics:
    return IndexerMetrics(CollectorRegistry())


@pytest.fixture(autouse=True)
def _a_dead_thread_does_not_end_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "exit_or_kill_after", lambda code, seconds: None)

"""`realm doctor` of a store with a live index, real Redis and Qdrant's engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from realm.cli.doctor import Finding, Verdict, examine
from tests.integration.indexing import Bench, document


def found(bench: Bench, about: str) -> list[Finding]:
    return [each for each in examine(bench.settings.addresses.store_url) if each.about == about]


def test_a_whole_index_is_found_whole_and_a_lost_one_is_told_of(
    make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench()
    addresses = bench.settings.addresses
    monkeypatch.setenv("REALM_REDIS_URL", addresses.redis_url)
    monkeypatch.setenv("REALM_QDRANT_URL", addresses.qdrant_url)
    bench.start()
    bench.write([document(number) for number in range(5)])
    bench.publish(step=0)
    bench.until_live(1)
    bench.until(lambda: bench.indexer.index.alias() == "passages-00000001", "the alias follows")
    bench.indexer.stop()
    bench.indexer = bench.make_indexer()  # to look with; it heals nothing
    (redis,) = found(bench, "Redis")
    assert redis.verdict is Verdict.OK
    (qdrant,) = found(bench, "Qdrant")
    assert qdrant.verdict is Verdict.OK
    (index,) = found(bench, "index")
    assert f"{bench.count(1)} points" in index.words
    bench.lose_points(1, "document-3")
    assert any("files ask for" in each.words for each in found(bench, "index"))
    bench.lose_collection(1)
    (index,) = found(bench, "index")
    assert index.verdict is Verdict.WRONG
    assert "no collection" in index.words

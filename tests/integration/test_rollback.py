"""A rollback while the gate is stuck: real builds, a search that does not come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from realm.records.states import State
from realm.search.vector_index import Hit, Query
from tests.integration.indexing import DEADLINE, Bench, document

DOCUMENTS = [document(number) for number in range(80)]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """Generation 2 is live, 1 is retained."""
    made = make_bench()
    made.start()
    made.write(DOCUMENTS)
    made.publish(step=0)
    made.until_live(1)
    made.publish(step=40)
    made.until_live(2)
    return made


@pytest.fixture
def let_go(bench: Bench) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Searches of the third generation's collection wait until they are let go."""
    waits, go = threading.Event(), threading.Event()
    search = bench.indexer.index.search

    def stuck(collection: str, queries: Sequence[Query], limit: int) -> list[list[Hit]]:
        if collection == "passages-00000003":
            waits.set()
            assert go.wait(2 * DEADLINE)
        return search(collection, queries, limit)

    bench.indexer.index.search = stuck  # type: ignore[method-assign]
    yield waits, go
    go.set()


def test_a_rollback_waits_for_no_validation_and_writes_go_on(
    bench: Bench, let_go: tuple[threading.Event, threading.Event]
) -> None:
    waits, go = let_go
    bench.publish(step=80)
    assert waits.wait(DEADLINE), "the gate searches the candidate"
    thread = ThreadPoolExecutor(1)
    back = thread.submit(bench.indexer.committer.roll_back, "worse answers", DEADLINE)
    assert back.result(DEADLINE) == 1
    thread.shutdown()
    assert bench.live() == 1
    bench.until_applied(bench.write([document(900)]))
    assert not go.is_set()
    go.set()
    state = bench.indexer.generations.state
    bench.until(lambda: state(3) is State.ABANDONED, "the candidate is given up")
    assert bench.live() == 1

from __future__ import annotations

from dataclasses import replace

import pytest

from realm.corpus.table import CorpusTable
from realm.errors import NotFound
from realm.records.generation import Event, Generation
from realm.records.generations import Generations
from realm.records.snapshots import Snapshot
from realm.records.states import State
from realm.records.store import Store
from realm.v1 import index_pb2
from services.indexer.build.build import Build, Memory
from services.indexer.context import CorpusReader, Records
from services.indexer.gateways import GatewayReports
from services.indexer.report.status import Status, phases_of, state_value
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import create, generation


def test_phases_are_found_among_the_gates_figures() -> None:
    events = [
        Event(1, State.BUILDING, 1.0),
        Event(2, State.LIVE, 2.0, "", {"recall@10": 1.0}),
        Event(3, State.LIVE, 3.0, "", {"phase_embed": 4.0, "phase_total": 5.0}),
    ]
    assert phases_of(events) == {"embed": 4.0, "total": 5.0}


def test_every_state_has_a_name_in_the_protocol() -> None:
    assert len({state_value(state) for state in State}) == len(State)


@pytest.fixture
def status(store: Store) -> Status:
    records = Records.of(store)
    corpus = CorpusReader(lambda: CorpusTable(store))
    replication = ReplicationState(records.generations)
    return Status(records, corpus, replication, GatewayReports(15.0), Memory())


def begin(store: Store, number: int, request: int) -> Generation:
    made = replace(generation(number), request=request)
    Generations(store).create(made)
    Generations(store).record(number, State.BUILDING)
    return made


def test_an_operation_is_followed_from_its_request_to_its_end(store: Store, status: Status) -> None:
    with pytest.raises(NotFound):
        status.follow(1)
    begin(store, 1, request=0)
    first = status.records.controls.request_refresh("one")
    second = status.records.controls.request_refresh("two")
    assert (first, second) == (1, 2)
    # Another build is under way: both wait.
    assert status.follow(first) == status.follow(second) == index_pb2.FollowRefreshResponse()
    made = begin(store, 2, request=second)
    snapshot = Snapshot(1, "d", 10, 0.5, None, "f", 2, {})
    status.memory.build = Build(made, snapshot)
    for operation in (first, second):  # the one build is for both
        found = status.follow(operation)
        assert (found.refresh.generation, found.done) == (2, False)
        assert found.refresh.state == index_pb2.GENERATION_STATE_BUILDING
    Generations(store).record(2, State.LIVE)
    status.memory.build, status.memory.flipping = None, status.memory.build
    assert not status.follow(second).done  # not every gateway answers with it yet
    status.memory.flipping = None
    assert status.follow(second).done
    begin(store, 3, request=second)
    assert status.follow(second).refresh.generation == 2
    for unknown in (0, 3, 2**63):
        with pytest.raises(NotFound):
            status.follow(unknown)


def test_a_refusal_ends_an_operation_with_its_reason(store: Store, status: Status) -> None:
    operation = status.records.controls.request_refresh("one")
    begin(store, 1, request=operation)
    Generations(store).record(1, State.REJECTED, "probes fell")
    found = status.follow(operation)
    assert found.done
    assert found.refresh.state == index_pb2.GENERATION_STATE_REJECTED
    assert found.refresh.reason == "probes fell"


def test_generations_are_listed_by_pages_and_found_one_by_one(store: Store, status: Status) -> None:
    for number, state in enumerate((State.DELETED, State.RETIRED, State.RETAINED, State.LIVE), 1):
        create(store, number, state)
    assert [each.generation for each in status.generations(2, 2**63)] == [4, 3]
    assert [each.generation for each in status.generations(2, 3)] == [2]
    assert status.generation(1).state == index_pb2.GENERATION_STATE_DELETED
    with pytest.raises(NotFound):
        status.generation(9)

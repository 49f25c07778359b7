"""What follows from all requests together."""

from bench.load.ledger import Sighting
from bench.load.requests import Origin, RequestRecord, sightings, went_back, windows
from bench.load.schedule import Kind


def record(
    sent: float, done: float, generation: int, version: int = 1, gateway: int = 0
) -> RequestRecord:
    origin = Origin(generation, generation, generation, version)
    return RequestRecord(Kind.SEARCH, gateway, sent, sent, done, origin=origin)


def test_latency_counts_from_when_it_was_due() -> None:
    assert RequestRecord(Kind.SEARCH, 0, due=10.0, sent=12.0, done=13.0).latency == 3.0


def test_an_older_answer_to_a_later_question_went_back() -> None:
    late = record(2.0, 3.0, generation=1)
    assert went_back([record(0.0, 1.0, generation=2), late]) == [late]
    older = record(2.0, 3.0, generation=2, version=4)
    assert went_back([record(0.0, 1.0, generation=1, version=5), older]) == [older]


def test_requests_that_overlap_may_end_in_any_order() -> None:
    held = record(0.5, 3.0, generation=1)
    assert went_back([record(0.0, 1.0, generation=2), held]) == []


def test_gateways_flip_each_at_its_own_moment() -> None:
    other = record(2.0, 3.0, generation=1, gateway=1)
    assert went_back([record(0.0, 1.0, generation=2), other]) == []


def test_failed_requests_have_no_origin_and_no_sightings() -> None:
    failed = RequestRecord(Kind.SEARCH, 0, 1.0, 1.0, 2.0, failed="gone")
    whole = RequestRecord(
        Kind.SEARCH, 0, 1.0, 1.0, 2.0, origin=Origin(1, 1, 1, 7), passages=(("a", 3), ("b", 4))
    )
    assert sightings([failed, whole]) == [Sighting("a", 3, 7), Sighting("b", 4, 7)]
    assert went_back([failed, whole]) == []


def test_windows_hold_reads_due_around_their_moment() -> None:
    reads = [RequestRecord(Kind.ANSWER, 0, at, at, at + 0.5) for at in (7.4, 7.6, 10.0, 12.4, 12.6)]
    write = RequestRecord(Kind.UPSERT, 0, 10.0, 10.0, 11.0)
    failed = RequestRecord(Kind.SEARCH, 0, 10.0, 10.0, 40.0, failed="late")
    found = windows([*reads, write, failed], [10.0, 100.0], 5.0)
    assert [len(window) for window in found] == [3, 0]

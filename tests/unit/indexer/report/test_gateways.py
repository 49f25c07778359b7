from __future__ import annotations

from services.indexer.report.gateways import Gateways, Report


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_refresh_has_arrived_when_every_ready_gateway_says_so() -> None:
    gateways = Gateways(10.0, Clock())
    gateways.heard(Report("a", 2, True))
    gateways.heard(Report("b", 1, True))
    gateways.heard(Report("c", 0, False))
    assert not gateways.all_answer_with(2)
    gateways.heard(Report("b", 2, True))
    assert gateways.all_answer_with(2)


def test_gateways_that_are_not_ready_yet_are_waited_for() -> None:
    gateways = Gateways(10.0, Clock())
    assert gateways.all_answer_with(1), "where there is no gateway nobody is waited for"
    gateways.heard(Report("a", 0, False))
    assert not gateways.all_answer_with(1)


def test_a_silent_gateway_does_not_count() -> None:
    clock = Clock()
    gateways = Gateways(10.0, clock)
    gateways.heard(Report("a", 1, True))
    clock.now = 6.0
    gateways.heard(Report("b", 2, True))
    assert not gateways.all_answer_with(2)
    clock.now = 11.0
    assert gateways.all_answer_with(2)
    assert [report.gateway_id for report in gateways.all()] == ["b"]


def test_the_moment_of_arrival_is_that_of_the_last_gateway() -> None:
    gateways = Gateways(10.0, Clock())
    assert gateways.reached_at(2) is None
    gateways.heard(Report("a", 2, True))
    first = gateways.reached_at(2)
    assert first is not None
    gateways.heard(Report("a", 2, True))
    assert gateways.reached_at(2) == first, "saying it again is no news"
    gateways.heard(Report("b", 2, True))
    last = gateways.reached_at(2)
    assert last is not None
    assert last >= first

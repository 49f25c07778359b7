from __future__ import annotations

from services.indexer.report.gateways import GatewayReport, GatewayReports


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_refresh_has_arrived_when_every_ready_gateway_says_so() -> None:
    gateways = GatewayReports(10.0, Clock())
    gateways.record(GatewayReport("a", 2, True))
    gateways.record(GatewayReport("b", 1, True))
    gateways.record(GatewayReport("c", 0, False))
    assert not gateways.all_serve(2)
    gateways.record(GatewayReport("b", 2, True))
    assert gateways.all_serve(2)


def test_gateways_that_are_not_ready_yet_are_waited_for() -> None:
    gateways = GatewayReports(10.0, Clock())
    assert gateways.all_serve(1), "where there is no gateway nobody is waited for"
    gateways.record(GatewayReport("a", 0, False))
    assert not gateways.all_serve(1)


def test_a_silent_gateway_does_not_count() -> None:
    clock = Clock()
    gateways = GatewayReports(10.0, clock)
    gateways.record(GatewayReport("a", 1, True))
    clock.now = 6.0
    gateways.record(GatewayReport("b", 2, True))
    assert not gateways.all_serve(2)
    clock.now = 11.0
    assert gateways.all_serve(2)
    assert [report.gateway_id for report in gateways.all()] == ["b"]


def test_the_moment_of_arrival_is_that_of_the_last_gateway() -> None:
    gateways = GatewayReports(10.0, Clock())
    assert gateways.reached_at(2) is None
    gateways.record(GatewayReport("a", 2, True))
    first = gateways.reached_at(2)
    assert first is not None
    gateways.record(GatewayReport("a", 2, True))
    assert gateways.reached_at(2) == first, "saying it again is no news"
    gateways.record(GatewayReport("b", 2, True))
    last = gateways.reached_at(2)
    assert last is not None
    assert last >= first

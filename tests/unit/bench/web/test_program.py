"""From what was observed to claims."""

from __future__ import annotations

from dataclasses import replace

from bench.web.program import BENCH, Idle, Observed, Turn, judge

GOOD = Observed(
    grpc=[Turn(6.0, 0.0, 150.0), Turn(6.5, 0.0, 140.0), Turn(6.2, 0.0, 145.0)],
    http=[Turn(6.6, 1.6, 120.0), Turn(7.0, 1.5, 118.0), Turn(30.0, 9.0, 40.0)],
    memory=90 << 20,
    idle=Idle(without=0.01, service=0.014, browser=0.05),
)


def failing(observed: Observed) -> list[str]:
    return [each.claim for each in judge(BENCH.full, observed).claims if not each.holds]


def test_a_burst_of_another_process_spoils_one_round_alone() -> None:
    assert failing(GOOD) == []


def test_the_gateway_s_time_counts_over_http_too() -> None:
    dear = [Turn(6.0, 3.5, 100.0)] * 3
    assert failing(replace(GOOD, http=dear)) == ["processor time of a search over HTTP, of gRPC's"]


def test_a_page_counts_for_what_it_adds() -> None:
    idle = Idle(without=0.01, service=0.021, browser=0.0)
    assert failing(replace(GOOD, idle=idle)) == ["share of a core that an open page takes"]


def test_without_a_browser_nothing_is_said_of_the_page() -> None:
    result = judge(BENCH.full, replace(GOOD, idle=None))
    assert len(result.claims) == 1
    assert "idle" not in result.figures

"""Who is asked first, and who last."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from realm.search.peers import FIRST_PAUSE, LAST_PAUSE, Peers, share_of


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_process_stays_at_home_while_home_answers() -> None:
    peers = Peers("abc", home=1)
    for _ in range(3):
        assert peers.order() == [1, 2, 0]
        peers.answered(1)


def test_a_peer_that_failed_comes_last_until_its_pause_is_over_and_then_for_one_caller_alone() -> (
    None
):
    clock = Clock()
    peers = Peers("abc", clock=clock, home=0)
    peers.failed(0)
    assert peers.order() == [1, 2, 0]
    clock.now += FIRST_PAUSE
    assert peers.order() == [0, 1, 2]
    assert peers.order() == [1, 2, 0]
    peers.answered(0)
    assert peers.order() == [0, 1, 2]


def test_a_peer_that_is_nobodys_home_is_tried_too_once_its_pause_is_over() -> None:
    clock = Clock()
    peers = Peers("abc", clock=clock, home=0)
    peers.failed(2)
    assert peers.order() == [0, 1, 2]
    clock.now += FIRST_PAUSE
    assert peers.order() == [2, 0, 1]
    assert peers.order() == [0, 1, 2]


def test_whoever_watches_hears_of_each_change_once() -> None:
    heard: list[tuple[str, bool]] = []
    peers = Peers("ab", lambda peer, answers: heard.append((peer, answers)), home=0)
    for _ in range(3):
        peers.failed(1)
    peers.answered(1)
    peers.answered(1)
    assert heard == [("b", False), ("b", True)]


def test_a_peer_that_lags_for_a_moment_is_no_news_and_one_that_goes_on_lagging_is() -> None:
    heard: list[bool] = []
    clock = Clock()
    peers = Peers("ab", lambda _, answers: heard.append(answers), clock, home=0)
    peers.failed(0, lags=True)
    assert peers.order() == [1, 0]
    peers.answered(0)
    assert not heard
    for _ in range(3):
        peers.failed(0, lags=True)
    peers.answered(0)
    assert heard == [False, True]


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(0, 40)), max_size=30))
def test_every_peer_is_asked_and_none_is_left_out_for_longer_than_the_longest_pause(
    happenings: list[tuple[int, bool, float]],
) -> None:
    clock = Clock()
    peers = Peers("abc", clock=clock, home=0)
    for place, answers, seconds in happenings:
        (peers.answered if answers else peers.failed)(place)
        assert sorted(peers.order()) == [0, 1, 2]
        clock.now += seconds
    failed = [place for place in range(3) if not peers.answers(place)]
    answering = [place for place in range(3) if peers.answers(place)]
    clock.now += LAST_PAUSE
    assert peers.order() == failed + answering
    if answering:
        assert peers.order()[: len(answering)] == answering


def test_one_peer_never_takes_all_the_time_while_there_are_others() -> None:
    assert share_of(10.0, 1.0, others=True) == 1.0
    assert share_of(1.0, 1.0, others=True) == 0.5
    assert share_of(10.0, 1.0, others=False) == 10.0

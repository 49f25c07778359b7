"""`realm watch` draws what it saw: lag over time, swaps, refreshes by phase."""

import time
from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from rich.console import Console

from realm.cli.index import origin
from realm.cli.watch import WINDOW_SECONDS, History, frame, lag_chart, refresh_chart, ticking
from realm.errors import NotReady
from realm.v1.index_pb2 import IndexStatus, Refresh
from realm.v1.types_pb2 import IndexVersion

NOW = 10_000.0


def status(generation: int, lag: float, **phases: float) -> IndexStatus:
    live = IndexVersion(generation=generation, lag=Duration(seconds=int(lag)))
    last = Refresh(generation=generation, phase_seconds=phases)
    return IndexStatus(live=live, last_refresh=last)


def drawn(what: object, width: int = 100) -> str:
    console = Console(width=width, record=True, force_terminal=True)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_a_swap_is_remembered_and_the_first_generation_is_none() -> None:
    history = History()
    history.add_status(status(3, 5), NOW)
    history.add_status(status(4, 0), NOW + 1)
    assert list(history.swaps) == [(NOW + 1, 4)]


def test_silence_lets_a_lag_grow_and_no_lag_stay() -> None:
    history = History()
    history.add_status(status(3, 5), NOW)
    history.add_silence(NOW + 7)
    assert history.points[-1] == (NOW + 7, 12)
    history.add_status(status(4, 0), NOW + 8)
    history.add_silence(NOW + 20)
    assert history.points[-1] == (NOW + 20, 0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    history = History()
    history.add_status(status(3, 0), NOW)
    history.add_status(status(4, 0), NOW + 1)
    history.add_silence(NOW + WINDOW_SECONDS + 2)
    assert len(history.points) == 1
    assert not history.swaps


def test_charts_show_lag_and_phases() -> None:
    history = History()
    for second in range(60):
        history.add_status(status(3, second, embed=3.0, load=1.0, total=4.0), NOW + second)
    history.add_status(status(4, 0, embed=6.0, load=2.0, total=8.0), NOW + 60)
    chart = lag_chart(history, NOW + 61, 80).plain
    assert "index lag" in chart
    assert max(map(len, chart.splitlines())) <= 80
    assert any("⠁" <= character <= "⣿" for character in chart)
    bars = drawn(refresh_chart(history, 80))
    assert "generation 3" in bars
    assert "8 s" in bars
    longer, shorter = (
        next(line.count("█") for line in bars.splitlines() if f"generation {number}" in line)
        for number in (4, 3)
    )
    assert longer == pytest.approx(2 * shorter, abs=1)


def test_a_narrow_terminal_gets_the_words_alone() -> None:
    history = History()
    history.add_status(status(3, 5), NOW)
    history.add_status(status(3, 6), NOW + 1)
    assert not lag_chart(history, NOW + 2, 20).plain
    assert "generation 3" in drawn(frame(status(3, 5), history, NOW, 20, True), 60)


def test_time_passes_between_updates_and_errors_come_through() -> None:
    def updates() -> Iterator[IndexStatus]:
        yield status(3, 0)
        time.sleep(0.3)
        raise NotReady("gone")

    found = ticking(updates(), 0.05)
    assert next(found) == status(3, 0)
    assert next(found) is None
    with pytest.raises(NotReady):
        list(found)


def test_words_alone_are_named_where_an_answer_comes_from() -> None:
    version = IndexVersion(generation=1, snapshot=1, corpus_version=3)
    assert "words alone" not in origin(version)
    version.words_alone = True
    assert origin(version).startswith("generation 1 of words alone, snapshot 1")

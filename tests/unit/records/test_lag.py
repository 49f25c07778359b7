from __future__ import annotations

import pytest

from realm.records.snapshots import Lag, Snapshot, lag_behind


def snapshot(number: int, step: int, at: float) -> Snapshot:
    return Snapshot(number, "d", step, at, None, "f", 2, {})


PUBLISHED = [snapshot(1, 0, 100.0), snapshot(2, 40, 160.0), snapshot(3, 80, 220.0)]
RESTARTED = [*PUBLISHED, snapshot(4, 60, 280.0)]


@pytest.mark.parametrize(
    ("published", "number", "step", "lag"),
    [
        pytest.param(PUBLISHED, 3, 80, Lag(), id="newest"),
        pytest.param(PUBLISHED, 1, 0, Lag(80, 160.0), id="two behind"),
        pytest.param(PUBLISHED, 2, 40, Lag(40, 220.0), id="one behind"),
        pytest.param(RESTARTED, 3, 80, Lag(0, 280.0), id="newer snapshot of an older step"),
        pytest.param(PUBLISHED[2:], 1, 0, Lag(80, 220.0), id="its own record is gone"),
    ],
)
def test_lag_counts_from_the_oldest_newer_snapshot(
    published: list[Snapshot], number: int, step: int, lag: Lag
) -> None:
    assert lag_behind(published, number, step) == lag
    assert lag.seconds(300.0) == (300.0 - lag.since if lag.since else 0.0)

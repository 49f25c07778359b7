from __future__ import annotations

import pytest

from bench.history.events import Done, Kind, Outcome, Sent
from bench.history.history import Operation
from bench.peers.program import longest_failing

OK, FAILED, MAYBE = Outcome.OK, Outcome.FAILED, Outcome.MAYBE


def operation(began: float, done: float, outcome: Outcome) -> Operation:
    sent = Sent(0, "client", 0, Kind.SEARCH, began, began)
    return Operation(sent, Done(0, done, outcome))


@pytest.mark.parametrize(
    ("operations", "seconds"),
    [
        ([], 0.0),
        ([(0, 1, OK), (1, 31, OK)], 0.0),
        ([(0, 1, OK), (1, 31, FAILED)], 30.0),
        ([(1, 2, FAILED), (1.5, 3, MAYBE), (2, 4, OK), (4, 5, FAILED)], 2.0),
        # One that was answered between them, though it was sent before both.
        ([(1, 2, FAILED), (0, 3, OK), (2, 4, FAILED)], 2.0),
    ],
)
def test_failing_lasts_from_the_first_failed_request_to_the_last_before_one_succeeds(
    operations: list[tuple[float, float, Outcome]], seconds: float
) -> None:
    assert longest_failing([operation(*each) for each in operations]) == seconds

"""The schedule of an open loop."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.history.events import Kind
from bench.load.schedule import schedule

RATES = st.dictionaries(st.sampled_from(list(Kind)), st.floats(0, 50), min_size=1)


@given(RATES, st.floats(0.1, 20))
def test_each_kind_comes_evenly_and_as_often_as_its_rate_says(
    rates: dict[Kind, float], seconds: float
) -> None:
    due = list(schedule(rates, seconds))
    assert due == sorted(due)
    assert all(0 <= each.at < seconds for each in due)
    for kind, rate in rates.items():
        mine = [each for each in due if each.kind is kind]
        assert abs(len(mine) - rate * seconds) <= 1
        assert [each.number for each in mine] == list(range(len(mine)))
        gaps = [b.at - a.at for a, b in pairwise(mine)]
        assert all(abs(gap - 1 / rate) < 1e-6 for gap in gaps)


def test_two_kinds_of_one_rate_do_not_come_together() -> None:
    due = list(schedule({Kind.SEARCH: 2.0, Kind.UPSERT: 2.0}, 5.0))
    moments = [each.at for each in due]
    assert len(set(moments)) == len(moments) == 20

"""Where ids were met first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realm.corpus.known_ids import KnownIds

PLACES = st.tuples(st.integers(0, 9), st.integers(0, 1 << 40))


@given(st.lists(st.tuples(st.text(max_size=2), PLACES)))
def test_an_id_is_where_it_was_met_first(met: list[tuple[str, tuple[int, int]]]) -> None:
    known, first = KnownIds(), dict[str, tuple[int, int]]()
    for name, place in met:
        assert known.first(name, *place) == first.setdefault(name, place)

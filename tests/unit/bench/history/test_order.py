"""A client's answers in the order in which it asked for them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.history.events import Made, Seen
from bench.history.promises import Promise
from tests.unit.bench.history.histories import Story, broken

A = Seen("a", 1, 0)
CLAIMS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=8)


def told(claims: list[tuple[int, int]], *, session: bool) -> Story:
    """One read after another, each with the corpus version that it claims and its gateway."""
    story = Story()
    story.upsert("a", 0, (0, 1), version=1)
    for number, (claimed, gateway) in enumerate(claims, start=1):
        at = (2.0 * number, 2.0 * number + 1)
        story.search("a", 0, at, claims=claimed, sees=[A], gateway=gateway, session=session)
    return story


def falls(claims: list[int]) -> bool:
    """Whether one is less than an earlier one; 0 claims nothing."""
    known = [each for each in claims if each]
    return known != sorted(known)


@given(CLAIMS)
def test_a_client_goes_back_if_its_corpus_versions_fall_at_a_gateway(
    claims: list[tuple[int, int]],
) -> None:
    expected = any(falls([v for v, gateway in claims if gateway == one]) for one in (0, 1))
    found = broken(told(claims, session=False).check())
    assert (Promise.NEVER_BACK in found) == expected


@given(CLAIMS)
def test_a_session_goes_back_if_they_fall_anywhere(claims: list[tuple[int, int]]) -> None:
    found = broken(told(claims, session=True).check())
    assert (Promise.NEVER_BACK in found) == falls([version for version, _ in claims])


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.data())
def test_a_client_that_sees_some_of_the_turns_in_their_order_never_goes_back(
    turns: list[int], data: st.DataObject
) -> None:
    """Rollbacks make earlier generations live again."""
    story = Story()
    story.upsert("a", 0, (0, 1), version=1)
    for each in turns:
        story.generation(each)
    live = [1, *turns]
    places = sorted(data.draw(st.lists(st.integers(0, len(turns)), max_size=8)))
    for number, place in enumerate(places, start=1):
        generation = live[place]
        made = Made(generation, generation, 10 * generation)
        story.search("a", 0, (2.0 * number, 2.0 * number + 1), claims=1, sees=[A], made=made)
    assert broken(story.check()) == []

"""What is decided in single situations; `test_lifecycle` has the random ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from realm.records.states import State
from services.indexer.build.lifecycle import (
    ASKED,
    HEAL,
    MAX_ABANDONED,
    NEWER,
    REFRESH,
    UNREADABLE,
    VECTORS,
    WORDS,
    Action,
    BeginBuild,
    GenerationView,
    Live,
    Observation,
    Progress,
    Step,
    Verdict,
    candidate_of,
    decide,
)

FILES = frozenset({"a", "b", "c"})
RETIREMENT = 100.0
DONE = Progress(2, FILES, FILES, FILES, True, True, True, True, True, None)


def view(number: int, snapshot: int, state: State, **more: object) -> GenerationView:
    fields: dict[str, object] = {"seconds": 50.0, "has_collection": True}
    return GenerationView(number, snapshot, state, **(fields | more))  # type: ignore[arg-type]


def observation(*generations: GenerationView, **more: object) -> Observation:
    """The newest snapshot is 3; if generation 1 is live, the alias points at it."""
    live = next((each for each in generations if each.state is State.LIVE), None)
    fields: dict[str, object] = {
        "retirement_seconds": RETIREMENT,
        "newest_snapshot": 3,
        "has_documents": True,
        "paused": False,
        "refresh_asked": 0,
        "live": Live(live.number, live.snapshot, 1, None) if live else None,
        "generations": generations,
        "candidate": None,
        "qdrant_reachable": True,
        "alias": live.number if live else None,
    }
    return Observation(**(fields | more))  # type: ignore[arg-type]


def begun(seen: Observation) -> list[int]:
    return [each.snapshot for each in decide(seen) if isinstance(each, BeginBuild)]


def steps(seen: Observation) -> list[Step]:
    return [each.step for each in decide(seen) if isinstance(each, Action)]


REJECTED = view(1, 3, State.REJECTED, request=1)
DAMAGED = view(1, 2, State.LIVE, damaged=True)


@pytest.mark.parametrize(
    ("seen", "built"),
    [
        pytest.param(observation(), [3], id="the newest snapshot"),
        pytest.param(observation(has_documents=False), [], id="no documents"),
        pytest.param(observation(newest_snapshot=None), [], id="no snapshot"),
        pytest.param(observation(REJECTED), [], id="a rejected snapshot is not tried again"),
        pytest.param(observation(REJECTED, refresh_asked=2), [3], id="unless it is asked for"),
        pytest.param(observation(REJECTED, refresh_asked=1), [], id="once for each request"),
        pytest.param(observation(REJECTED, newest_snapshot=4), [4], id="a newer one"),
        pytest.param(observation(paused=True), [], id="paused"),
        pytest.param(observation(paused=True, refresh_asked=1), [3], id="asked for while paused"),
        pytest.param(
            observation(REJECTED, paused=True, refresh_asked=2, refresh_snapshot=2), [2],
            id="another snapshot asked for",
        ),
        pytest.param(
            observation(view(1, 3, State.LIVE), refresh_asked=1), [3], id="live's own, asked for"
        ),
        pytest.param(observation(DAMAGED), [2], id="damaged live is made again"),
        pytest.param(observation(DAMAGED, paused=True), [2], id="also while paused"),
        pytest.param(observation(DAMAGED, can_heal=False), [3], id="or replaced if it cannot be"),
    ],
)  # fmt: skip
def test_which_snapshot_is_built(seen: Observation, built: list[int]) -> None:
    assert begun(seen) == built


def test_nothing_is_done_while_the_newest_snapshot_is_live() -> None:
    assert decide(observation(view(1, 3, State.LIVE))) == []


def test_a_refresh_of_a_damaged_snapshot_is_answered_by_the_next_build() -> None:
    asked = observation(refresh_asked=4, refresh_snapshot=2, refresh_damaged=True)
    assert decide(asked) == [BeginBuild(3, NEWER, 4, 0)]


def test_a_forced_refresh_says_by_whom() -> None:
    seen = observation(
        view(1, 2, State.REJECTED), refresh_asked=2, refresh_snapshot=2,
        refresh_forced="root: it must be",
    )  # fmt: skip
    assert decide(seen) == [BeginBuild(2, "forced by root: it must be", 2, 0, "root: it must be")]


def words(number: int, state: State, **more: object) -> GenerationView:
    return view(number, 3, state, words_alone=True, why=WORDS, **more)


def live_words(**more: object) -> Observation:
    live = Live(1, 3, 1, None, words_alone=True)
    return observation(words(1, State.LIVE), live=live, words_first=True, **more)


FIRST_WORDS = BeginBuild(3, WORDS, 0, 0, words_alone=True)


@pytest.mark.parametrize(
    ("seen", "begun"),
    [
        pytest.param(observation(words_first=True), [FIRST_WORDS], id="before anything is live"),
        pytest.param(observation(), [BeginBuild(3, NEWER, 0, 0)], id="unless they are not wanted"),
        pytest.param(observation(words_first=True, paused=True), [], id="or refreshing is paused"),
        pytest.param(
            observation(words_first=True, paused=True, refresh_asked=1), [FIRST_WORDS],
            id="before what is asked for, which is not answered by it",
        ),
        pytest.param(
            observation(words(1, State.REJECTED), words_first=True),
            [BeginBuild(3, NEWER, 0, 0)],
            id="once, if they cannot go live",
        ),
        pytest.param(
            observation(words(1, State.ABANDONED), words_first=True, floor=1), [FIRST_WORDS],
            id="again, if their leader was lost",
        ),
        pytest.param(
            observation(view(1, 2, State.LIVE), words_first=True),
            [BeginBuild(3, NEWER, 0, 1)],
            id="never once something is live",
        ),
        pytest.param(live_words(), [BeginBuild(3, VECTORS, 0, 1)], id="vectors follow words"),
        pytest.param(live_words(newest_snapshot=4), [BeginBuild(4, VECTORS, 0, 1)], id="newest"),
        pytest.param(live_words(paused=True), [], id="but not while refreshing is paused"),
        pytest.param(
            live_words(refresh_asked=1), [BeginBuild(3, ASKED, 1, 1)], id="nor a second time"
        ),
    ],
)  # fmt: skip
def test_words_come_first_and_vectors_follow(seen: Observation, begun: list[BeginBuild]) -> None:
    assert [each for each in decide(seen) if isinstance(each, BeginBuild)] == begun


def test_damaged_words_are_made_again_as_words_before_vectors_go_on() -> None:
    damaged, live = words(1, State.LIVE, damaged=True), Live(1, 3, 1, None, words_alone=True)
    heal = BeginBuild(3, HEAL, 0, 1, words_alone=True)
    assert decide(observation(damaged, live=live, words_first=True)) == [heal]
    candidate = view(2, 3, State.BUILDING, replaces=1, why=VECTORS)
    gives_way = observation(damaged, candidate, live=live, candidate=DONE)
    assert steps(gives_way)[0] is Step.END_BUILD


def test_damaged_live_that_was_forced_is_made_again_by_force() -> None:
    """The gate would refuse again what it was overruled for, and live stayed damaged."""
    live = Live(1, 3, 1, None, forced="root: it must be")
    damaged = view(1, 3, State.LIVE, damaged=True)
    heal = BeginBuild(3, HEAL, 0, 1, "root: it must be")
    assert decide(observation(damaged, live=live)) == [heal]


def test_vectors_that_were_refused_are_not_tried_again_beside_words() -> None:
    refused = view(2, 3, State.REJECTED)
    live = Live(1, 3, 1, None, words_alone=True)
    assert begun(observation(words(1, State.LIVE), refused, live=live)) == []
    assert begun(observation(words(1, State.LIVE), refused, live=live, newest_snapshot=4)) == [4]


@pytest.mark.parametrize("times", range(MAX_ABANDONED + 2))
def test_an_abandoned_snapshot_is_tried_a_few_times(times: int) -> None:
    abandoned = [view(number, 3, State.ABANDONED) for number in range(1, times + 1)]
    assert begun(observation(*abandoned)) == ([3] if times < MAX_ABANDONED else [])


def test_a_heal_is_tried_again_forever_but_not_at_once() -> None:
    tries = [view(n, 2, State.ABANDONED, why=HEAL) for n in range(2, 3 + MAX_ABANDONED)]
    assert begun(observation(DAMAGED, *tries)) == [2]
    assert begun(observation(DAMAGED, *tries, backing_off=True)) == []


@pytest.mark.parametrize(
    ("why", "first"),
    [(NEWER, Step.END_BUILD), (ASKED, Step.VALIDATE), (HEAL, Step.VALIDATE)],
)
def test_only_a_build_that_nobody_asked_for_gives_way_to_a_heal(why: str, first: Step) -> None:
    candidate = view(2, 3, State.BUILDING, replaces=1, why=why)
    assert steps(observation(DAMAGED, candidate, candidate=DONE))[0] is first


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        # The collection is not what its files say, which tells nothing about the snapshot.
        (Verdict(False, "3 points are missing", retry=True), State.ABANDONED),
        (Verdict(False, "it finds less"), State.REJECTED),
    ],
)
def test_a_failed_verdict_ends_the_build(verdict: Verdict, state: State) -> None:
    candidate = view(2, 3, State.VALIDATING, replaces=0)
    seen = observation(candidate, candidate=replace(DONE, verdict=verdict))
    assert decide(seen) == [Action(Step.END_BUILD, 2, state=state, why=verdict.why)]


def test_a_stalled_build_gives_way_only_to_a_newer_snapshot() -> None:
    candidate = view(2, 3, State.BUILDING, replaces=0)
    stalled = replace(DONE, embedded=frozenset(), loaded=frozenset(), optimised=False, stalled=True)
    alone = observation(candidate, candidate=stalled)
    assert decide(alone) == [Action(Step.REQUEST_SHARDS, 2, FILES)]
    assert steps(replace(alone, newest_snapshot=4)) == [Step.END_BUILD]


@pytest.mark.parametrize(
    ("turn", "replaces", "expected"),
    [
        (4, 4, Action(Step.COMMIT, 2, why=REFRESH)),
        (6, 4, Step.END_BUILD),
        (4, None, Step.END_BUILD),  # an older release did not record it
    ],
)
def test_a_build_ends_once_another_generation_had_its_turn(
    turn: int, replaces: int | None, expected: object
) -> None:
    candidate = view(2, 3, State.VALIDATING, replaces=replaces)
    seen = observation(
        view(1, 2, State.LIVE), candidate, live=Live(1, 2, turn, None),
        candidate=replace(DONE, verdict=Verdict(True)),
    )  # fmt: skip
    assert expected in (*decide(seen), *steps(seen))


@pytest.mark.parametrize(
    ("seconds", "actions"),
    [(RETIREMENT, []), (RETIREMENT + 1, [Action(Step.DROP_COLLECTION, 1)])],
)
def test_a_collection_is_dropped_once_this_leader_has_seen_it_retired_long_enough(
    seconds: float, actions: list[Action]
) -> None:
    retired = view(1, 2, State.RETIRED, seconds=seconds)
    assert decide(observation(retired, newest_snapshot=None)) == actions


def test_a_live_generation_whose_manifest_cannot_be_read_is_replaced() -> None:
    live = Live(7, 0, turn=4, previous=6)
    before = view(6, 3, State.RETAINED, replaces=3)
    assert decide(observation(before, live=live)) == [BeginBuild(3, UNREADABLE, 0, 4)]
    tried = [view(8 + n, 3, State.ABANDONED, replaces=4, seconds=1.0) for n in range(MAX_ABANDONED)]
    assert begun(observation(before, *tried, live=live)) == []
    assert begun(observation(before, *tried, live=live, newest_snapshot=4)) == [4]
    lost = [replace(each, term=1) for each in tried]
    assert begun(observation(before, *lost, live=live, floor=2)) == [3]


# Builds of leaders before `floor` are not continued.

LIVE = view(1, 1, State.LIVE, term=1)
BUILD = view(2, 3, State.BUILDING, term=1, replaces=1)


def test_a_build_continues_if_its_leader_cannot_wake() -> None:
    seen = observation(LIVE, BUILD)
    assert candidate_of(seen) == BUILD
    assert Step.RECORD_STATE not in steps(seen)


def test_a_build_whose_leader_may_wake_is_abandoned_and_begun_anew() -> None:
    abandon = Action(
        Step.RECORD_STATE, 2, frozenset(), State.ABANDONED, "another indexer leads now"
    )
    assert abandon in decide(observation(LIVE, BUILD, floor=2))
    assert begun(observation(LIVE, replace(BUILD, state=State.ABANDONED), floor=2)) == [3]


@pytest.mark.parametrize(("term", "built"), [(1, [3]), (2, [])])
def test_lost_leaders_do_not_count_against_a_snapshot(term: int, built: list[int]) -> None:
    abandoned = [
        replace(BUILD, number=2 + each, state=State.ABANDONED, term=term)
        for each in range(MAX_ABANDONED + 1)
    ]
    assert begun(observation(LIVE, *abandoned, floor=2)) == built


def test_what_an_earlier_leader_made_live_stays_live() -> None:
    assert Step.RECORD_STATE not in steps(observation(LIVE, floor=9))

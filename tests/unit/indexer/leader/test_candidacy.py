"""Random interleavings of sleeping, dying, leading and committing: the store fences them all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from obstore.store import MemoryStore

from realm.errors import Conflict, DependencyUnavailable, NotReady, RealmError
from realm.records.bucket import Bucket
from realm.records.generation import LiveEntry
from realm.records.generations import Generations
from realm.records.leaders import Leaders, stale_writes
from realm.records.store import Store
from realm.settings import load_settings
from services.indexer.leader.candidacy import (
    LeaderSigns,
    Tenure,
    counts_until,
    floor_of,
    may_claim,
    watch,
)
from services.indexer.leader.election import Election

LEASE = 4.0
NODES = st.integers(0, 2)
NOWHERE = "redis://127.0.0.1:1/0"


def memory_store() -> Store:
    objects = MemoryStore()
    return Store("memory://", Bucket(objects, objects), None, Path())


@dataclass
class Node:
    """An indexer: its election, and what it is in the middle of when it is not scheduled."""

    name: str
    election: Election
    generations: Generations
    started: bool = False
    #: (generation, entry that it saw live) of a commit that is decided but not yet put.
    pending: tuple[int, LiveEntry | None] | None = None
    builds: list[int] = field(default_factory=list)


class Leading(RuleBasedStateMachine):
    """Three indexers over one store. Whoever is not scheduled sleeps, between any two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.store = memory_store()
        self.dead: set[str] = set()
        self.started = 0
        self.last_build = 0
        self.nodes: list[Node] = []
        self.fenced = 0

    @initialize()
    def begin(self) -> None:
        Generations(self.store).commit(0, after=None, by="the first", why="")
        self.nodes = [self.node() for _ in range(3)]

    def node(self) -> Node:
        self.started += 1
        name = f"process-{self.started}"
        election = Election(
            load_settings(redis_url=NOWHERE, lease_seconds=LEASE),
            self.store,
            clock=lambda: self.now,
            has_ended=self.dead.__contains__,
        )
        election.by = name
        return Node(name, election, Generations(self.store.guarded(election.check)))

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 1.9, 2.1, 5.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=NODES)
    def looks(self, number: int) -> None:
        node = self.nodes[number]
        try:
            node.election.tick()
            if node.election.leads and not node.started:
                node.generations.fence(node.election.term, node.election.floor, node.name)
                node.started = True
                self.fenced = max(self.fenced, node.election.floor)
        except RealmError:
            pass
        if node.election.lost:
            self.dead.add(node.name)
            self.nodes[number] = self.node()

    @rule(number=NODES, seconds=st.integers(1, 7))
    def sleeps(self, number: int, seconds: int) -> None:
        """The others go on."""
        for _ in range(seconds):
            self.now += 1.0
            for each in range(3):
                if each != number:
                    self.looks(each)

    @rule(number=NODES)
    def decides_to_commit(self, number: int) -> None:
        node = self.nodes[number]
        if not node.started or node.pending:
            return
        self.last_build += 1
        node.pending = (self.last_build, node.generations.live())

    @rule(number=NODES)
    def commits(self, number: int) -> None:
        """As if it slept right before the put: no check of leadership stands between."""
        node = self.nodes[number]
        if node.pending is None:
            return
        generation, before = node.pending
        node.pending = None
        try:
            entry = Generations(self.store).commit(
                generation, after=before, by=node.name, why="", term=node.election.term
            )
        except Conflict:
            return
        assert before is None or entry.term >= self.fenced, "a leader that was replaced committed"

    @rule(number=NODES, asleep_already=st.booleans())
    def sleeps_over_a_commit(self, number: int, asleep_already: bool) -> None:
        if asleep_already:
            self.sleeps(number, 7)
        self.decides_to_commit(number)
        self.sleeps(number, 7)
        self.commits(number)

    @rule(number=NODES)
    def is_killed(self, number: int) -> None:
        self.dead.add(self.nodes[number].name)
        self.nodes[number] = self.node()

    @rule(number=NODES)
    def stops(self, number: int) -> None:
        node = self.nodes[number]
        node.election.stop(resign=node.pending is None)
        self.nodes[number] = self.node()

    @invariant()
    def one_at_most_may_act_unasked(self) -> None:
        """Of those that trust their last look, there is one; every other one asks the store."""
        trusted = [node for node in self.nodes if self.may_act(node)]
        assert len(trusted) <= 1
        if trusted:
            assert trusted[0].election.term == Leaders(self.store).newest_number()

    def may_act(self, node: Node) -> bool:
        try:
            node.election.check()
        except NotReady:
            return False
        return True

    @invariant()
    def history_is_of_one_leader_after_the_other(self) -> None:
        terms = [entry.term for entry in Generations(self.store).live_history()]
        assert terms == sorted(terms)

    @precondition(lambda self: self.nodes)
    @rule()
    def somebody_leads_in_the_end(self) -> None:
        for _ in range(20):
            self.now += 1.0
            for number in range(3):
                self.looks(number)
        assert sum(node.started and self.may_act(node) for node in self.nodes) == 1


Leading.TestCase.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=25, deadline=None
)
test_any_interleaving = Leading.TestCase


class Pair:
    """Two indexers over a folder that can be made to answer nobody."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.folder = folder
        self.store = Store.open(str(folder))
        self.leader, self.other = self.elect(), self.elect()
        self.leader.tick()
        self.other.tick()

    def elect(self) -> Election:
        settings = load_settings(redis_url=NOWHERE, lease_seconds=LEASE)
        return Election(settings, self.store, lambda: self.now, has_ended=lambda name: False)

    def changes_while_the_store_is_away(self) -> None:
        control, aside = self.folder / "control", self.folder / "aside"
        control.rename(aside)
        control.symlink_to(control)
        try:
            with pytest.raises(DependencyUnavailable):
                self.leader.changed("passages-00000001")
        finally:
            control.unlink()
            aside.rename(control)

    def other_leads(self) -> None:
        for _ in range(12):
            self.now += 1.0
            self.other.tick()
        assert self.other.leads


def test_a_change_that_the_store_could_not_judge_is_told_of_when_it_came_too_late(
    tmp_path: Path,
) -> None:
    pair = Pair(tmp_path / "store")
    pair.now += LEASE
    pair.changes_while_the_store_is_away()
    pair.other_leads()
    with pytest.raises(NotReady):
        pair.leader.tick()
    assert list(stale_writes(pair.store).values()) == ["passages-00000001"]


def test_one_that_was_in_time_is_not_told_of_later(tmp_path: Path) -> None:
    pair = Pair(tmp_path / "store")
    pair.now += LEASE
    pair.changes_while_the_store_is_away()
    pair.leader.tick()
    pair.other_leads()
    with pytest.raises(NotReady):
        pair.leader.tick()
    assert not stale_writes(pair.store)


def test_silence_counts_only_while_one_is_awake() -> None:
    signs = LeaderSigns(term=1, store_beat="7")
    seen = watch(None, signs, 0.0, LEASE)
    for moment in (1.0, 2.0, 3.0):
        seen = watch(seen, signs, moment, LEASE)
    slept = watch(seen, signs, 60.0, LEASE)
    assert not may_claim(slept, LEASE)
    seen = slept
    for moment in (61.0, 62.0, 63.0, 64.0):
        seen = watch(seen, signs, moment, LEASE)
    assert may_claim(seen, LEASE)


def test_either_beat_is_a_sign_of_life_and_an_absent_redis_is_none_of_death() -> None:
    seen = watch(None, LeaderSigns(1, store_beat="1", redis_beat="a"), 0.0, LEASE)
    for number in range(1, 20):
        seen = watch(seen, LeaderSigns(1, store_beat=str(number)), float(number), LEASE)
        assert not may_claim(seen, LEASE)
    for number in range(20, 40):
        seen = watch(
            seen, LeaderSigns(1, store_beat="19", redis_beat=str(number)), float(number), LEASE
        )
        assert not may_claim(seen, LEASE)


def test_builds_are_handed_on_by_those_alone_that_ended_their_work() -> None:
    assert floor_of(LeaderSigns(), 0, claimed=1) == 0
    assert floor_of(LeaderSigns(term=4, ended=True, resigned=True), 2, claimed=5) == 2
    assert floor_of(LeaderSigns(term=4, ended=True), 2, claimed=5) == 5
    assert floor_of(LeaderSigns(term=4), 2, claimed=5) == 5


def test_trust_ends_before_a_lease_does() -> None:
    assert Tenure(1, 1, 10.0).is_trusted(11.9, LEASE)
    assert not Tenure(1, 1, 10.0).is_trusted(12.0, LEASE)


def test_an_answer_counts_for_as_long_again_as_it_took() -> None:
    assert counts_until(10.0, 10.1, LEASE) == pytest.approx(10.2)
    assert counts_until(10.0, 19.0, LEASE) == 19.0 + LEASE / 2


class SlowAnswers(Leaders):
    """A store that takes `seconds` to tell the newest term, by the clock of a pair."""

    def __init__(self, pair: Pair, seconds: float) -> None:
        super().__init__(pair.store)
        self.pair, self.seconds, self.asked = pair, seconds, 0

    def newest_number(self) -> int:
        self.asked += 1
        self.pair.now += self.seconds
        return super().newest_number()


def test_a_slow_store_is_asked_once_after_each_change_and_not_again_before_the_next(
    tmp_path: Path,
) -> None:
    pair = Pair(tmp_path)
    slow = pair.leader._leaders = SlowAnswers(pair, seconds=1.5)
    pair.now += LEASE
    for _ in range(5):
        pair.leader.check()
        pair.leader.changed("passages-00000001")
    assert slow.asked == 1 + 5
    pair.now += 1.5
    pair.leader.check()
    assert slow.asked == 1 + 5 + 1


def test_a_leader_that_slept_after_an_answer_asks_again(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.leader._leaders = SlowAnswers(pair, seconds=1.5)
    pair.now += LEASE
    pair.leader.check()
    pair.other_leads()
    with pytest.raises(NotReady):
        pair.leader.check()

"""Random interleavings of publishing, writing, crashing and steering never break the lifecycle."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realm.records.states import ACTIVE, ENDED, FINAL, IN_PROGRESS, State, may_follow
from services.indexer.build.lifecycle import (
    HEAL,
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
from tests.unit.indexer.build.world import Index, Remembered

FILES = frozenset({"a", "b", "c"})
RETIREMENT = 100.0


class Lifecycle(RuleBasedStateMachine):
    """Store, Qdrant, embedder, follower and operators, as simply as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        self.snapshots = 0
        self.version = 0
        self.generations: dict[int, Index] = {}
        self.live: list[int] = []
        self.memory = Remembered()
        self.paused = False
        self.refreshes = 0
        self.qdrant = True
        self.alias: int | None = None
        self.good = True
        self.words_first = False

    def observe(self) -> Observation:
        live = self.live_now()
        seen = Observation(
            retirement_seconds=RETIREMENT,
            newest_snapshot=self.snapshots or None,
            has_documents=self.version > 0,
            paused=self.paused,
            refresh_asked=self.refreshes,
            live=live,
            generations=self.seen(),
            candidate=None,
            qdrant_reachable=self.qdrant,
            alias=self.alias,
            words_first=self.words_first,
        )
        candidate = candidate_of(seen)
        return replace(seen, candidate=self.progress(candidate.number)) if candidate else seen

    def live_now(self) -> Live | None:
        if not self.live:
            return None
        newest = self.live[-1]
        before = [turn for turn, number in enumerate(self.live, 1) if number != newest]
        turn = before[-1] + 1 if before else 1
        whole = [self.live[each - 1] for each in before]
        whole = [number for number in whole if not self.generations[number].damaged]
        previous = whole[-1] if whole else None
        if previous is not None and self.generations[previous].state in ENDED | FINAL:
            previous = None
        made = self.generations[newest]
        return Live(newest, made.snapshot, turn, previous, words_alone=made.words_alone)

    def seen(self) -> tuple[GenerationView, ...]:
        return tuple(
            GenerationView(
                n, g.snapshot, g.state, self.now - g.since, g.collection, 0, g.request,
                g.replaces, g.damaged, g.why, g.words_alone,
            )
            for n, g in self.generations.items()
        )  # fmt: skip

    def progress(self, number: int) -> Progress:
        if self.memory.generation != number:
            self.memory = Remembered(number)
        index = self.generations[number]
        live = self.live_now()
        behind = (
            live is not None and self.memory.applied < self.generations[live.generation].applied
        )
        return Progress(
            generation=number,
            files=FILES,
            embedded=FILES if index.words_alone else frozenset(index.embedded),
            loaded=frozenset(self.memory.loaded),
            prepared=self.memory.prepared,
            optimised=self.memory.optimised,
            replicating=self.memory.replicating,
            caught_up=self.memory.replicating and not behind,
            probes_ready=index.probes,
            verdict=self.memory.verdict,
        )

    def set_state(self, number: int, state: State | None) -> None:
        assert state is not None
        assert may_follow(self.generations[number].state, state)
        live = self.live_now()
        if live and number in (live.generation, live.previous):
            assert state not in (State.ABANDONED, State.REJECTED, State.BUILDING)
        self.generations[number].state = state
        self.generations[number].since = self.now

    def perform(self, action: BeginBuild | Action) -> None:
        if isinstance(action, BeginBuild):
            self.begin(action)
            return
        number, memory = action.generation, self.memory
        generation = self.generations[number]
        match action.step:
            case Step.RECORD_STATE:
                self.set_state(number, action.state)
            case Step.PREPARE_COLLECTION:
                assert number not in self.live, "refilled in place"
                generation.collection = memory.prepared = True
                memory.loaded.clear()
            case Step.LOAD_SHARDS:
                assert generation.words_alone or action.files <= generation.embedded
                assert memory.prepared
                memory.loaded.add(min(action.files))
            case Step.OPTIMISE:
                assert memory.loaded == FILES, "half of it would be in no index"
                memory.optimised = True
            case Step.START_REPLICATION:
                assert memory.loaded == FILES, "deltas before shards resurrect the deleted"
                assert memory.optimised, "a collection at work on its index takes no write"
                memory.replicating = True
                memory.applied = generation.corpus_version
            case Step.VALIDATE:
                self.set_state(number, State.VALIDATING)
                memory.verdict = Verdict(self.good, "" if self.good else "worse")
            case Step.COMMIT:
                self.commit(number)
            case Step.END_BUILD:
                self.set_state(number, action.state)
                self.memory = Remembered()
            case Step.DROP_COLLECTION:
                self.drop(number)
            case Step.POINT_ALIAS:
                assert generation.collection
                self.alias = number

    def begin(self, wanted: BeginBuild) -> None:
        ends = set(self.live)
        building = [
            n for n, g in self.generations.items() if g.state in IN_PROGRESS and n not in ends
        ]
        assert not building, "two candidates"
        number = len(self.generations) + 1
        self.generations[number] = Index(
            wanted.snapshot, wanted.request, wanted.replaces, corpus_version=self.version,
            applied=self.version, why=wanted.why, words_alone=wanted.words_alone,
        )  # fmt: skip

    def commit(self, number: int) -> None:
        memory, index = self.memory, self.generations[number]
        assert memory.generation == number
        assert memory.verdict == Verdict(True)
        assert memory.loaded == FILES
        assert memory.prepared
        live = self.live_now()
        if live:
            assert live.turn == index.replaces, "a rollback came in between"
            assert memory.applied >= self.generations[live.generation].applied
        index.applied = memory.applied
        self.live.append(number)

    def drop(self, number: int) -> None:
        live = self.live_now()
        assert live is None or number not in (live.generation, live.previous)
        index = self.generations[number]
        assert index.state in ENDED, "a rollback may go back to it"
        assert self.now - index.since > RETIREMENT
        index.collection = False
        if index.state is State.RETIRED:
            self.set_state(number, State.DELETED)

    @initialize(generations=st.integers(0, 2), words_first=st.booleans())
    def begin_with(self, generations: int, words_first: bool) -> None:
        self.words_first = words_first
        for _ in range(generations):
            self.write()
            self.build(True, FILES, 9, "")

    @rule()
    def publish(self) -> None:
        self.snapshots += 1

    @rule()
    def write(self) -> None:
        self.version += 1

    @rule(seconds=st.sampled_from([0.5, RETIREMENT + 1]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(file=st.sampled_from(sorted(FILES)))
    def embed(self, file: str) -> None:
        for index in self.generations.values():
            index.embedded.add(file)

    @rule()
    def encode_probes(self) -> None:
        for index in self.generations.values():
            index.probes = True

    @rule()
    def follow(self) -> None:
        """As `Following` orders it: the candidate before live."""
        if self.memory.replicating:
            self.memory.applied = self.version
        if live := self.live_now():
            self.generations[live.generation].applied = self.version

    @rule()
    def live_follows_alone(self) -> None:
        if live := self.live_now():
            self.generations[live.generation].applied = self.version

    @rule(looks=st.integers(1, 6))
    def look_often(self, looks: int) -> None:
        for _ in range(looks):
            self.look(actions=100, crash=False)

    @rule(
        embedded=st.sampled_from([frozenset("ab"), FILES, FILES]),
        looks=st.integers(1, 9),
        then=st.sampled_from("plwrgbc"),
        fresh=st.booleans(),
    )
    def build(self, fresh: bool, embedded: frozenset[str], looks: int, then: str) -> None:
        """So that something happens in the middle of builds, and not before the first alone."""
        self.paused, self.good = False, True
        if fresh:
            self.publish()
        for file in embedded:
            self.embed(file)
        self.encode_probes()
        self.look_often(looks)
        match then:
            case "p":
                self.publish()
            case "w":
                self.write()
            case "l":
                self.write()
                self.live_follows_alone()
            case "r":
                self.memory = Remembered()
            case "g":
                self.good = not self.good
            case "c":
                self.look(actions=1, crash=True)
                self.roll_back()
            case "b":
                self.roll_back()
        self.look_often(2)

    @rule(actions=st.integers(0, 3), crash=st.booleans())
    def look(self, actions: int, crash: bool) -> None:
        """Looks, does some of what is decided, and perhaps dies."""
        self.now += 0.01
        seen = self.observe()
        for action in decide(seen)[:actions]:
            self.perform(action)
        if crash:
            self.memory = Remembered()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.paused = paused

    @rule()
    def ask_refresh(self) -> None:
        self.refreshes += 1

    @rule(good=st.booleans())
    def gate_changes_its_mind(self, good: bool) -> None:
        self.good = good

    @rule(retained=st.booleans(), lost=st.booleans())
    def damage(self, retained: bool, lost: bool) -> None:
        """What is searched, or would be after a rollback, loses points or its collection."""
        if live := self.live_now():
            number = live.previous if retained else live.generation
            if number is not None and self.generations[number].state in ACTIVE:
                self.generations[number].damaged = True
                self.generations[number].collection &= not lost

    @rule()
    def look_without_qdrant(self) -> None:
        self.qdrant = False
        self.look(actions=100, crash=False)
        self.qdrant = True

    @rule()
    def roll_back(self) -> None:
        live = self.live_now()
        if live is None or live.previous is None:
            return
        if self.generations[live.previous].state in ACTIVE:
            self.now += 0.01
            self.paused = True
            self.generations[live.previous].applied = self.version
            self.live.append(live.previous)

    @invariant()
    def words_are_of_the_beginning(self) -> None:
        """They are begun where nothing is live, and made again only where they are damaged."""
        begun = [index for index in self.generations.values() if index.words_alone]
        assert all(index.why == HEAL or not index.replaces for index in begun)
        assert self.words_first or not begun

    @invariant()
    def applied_never_goes_back(self) -> None:
        if live := self.live_now():
            applied = self.generations[live.generation].applied
            assert applied <= self.version
            assert applied >= getattr(self, "_applied", 0)
            self._applied = applied

    def teardown(self) -> None:
        """Left in peace, with a good snapshot published, that snapshot goes live."""
        self.paused, self.good, self.qdrant = False, True, True
        self.write()
        for _ in range(16):
            self.settle()
        self.publish()
        for _ in range(32):  # words may come first
            self.settle()
        live = self.live_now()
        assert live is not None
        assert live.snapshot == self.snapshots
        assert not live.words_alone
        states = [index.state for index in self.generations.values()]
        assert states.count(State.LIVE) == 1
        assert states.count(State.RETAINED) <= 1
        assert not IN_PROGRESS & set(states)
        assert self.alias == live.generation
        assert not self.generations[live.generation].damaged
        retained = [index for index in self.generations.values() if index.state is State.RETAINED]
        assert not any(index.damaged for index in retained)
        assert self.generations[live.generation].state is State.LIVE

    def settle(self) -> None:
        for file in FILES:
            self.embed(file)
        self.encode_probes()
        self.follow()
        self.look(actions=100, crash=False)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=30, deadline=None
)

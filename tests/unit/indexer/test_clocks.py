"""What leaders decide follows from the store, never from what their clocks say."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from realm.records.baselines import GateBaselines
from realm.records.controls import Controls
from realm.records.generation import Generation, collection_name
from realm.records.generations import Generations
from realm.records.snapshots import Snapshots
from realm.records.states import ACTIVE, State
from realm.records.store import Store
from realm.settings import load_settings
from services.indexer.build.build import BuildContext, Memory
from services.indexer.build.lifecycle import Action, BeginBuild, Step, Verdict, decide
from services.indexer.build.observer import Observer
from services.indexer.build.tracker import BuildTracker
from services.indexer.context import Records
from services.indexer.writes.replication import ReplicationState
from tests.unit.indexer.examples import generation, publish

RETIREMENT = 900.0
HOURS = 3600.0
SETTINGS = load_settings(retirement_seconds=RETIREMENT, gate_probes=0)
BEGAN = 1.8e9


class Qdrant:
    """Which collections there are, and where the alias points."""

    full = ""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.to: str | None = None

    def collections(self) -> list[str]:
        return sorted(self.names)

    def alias(self) -> str | None:
        return self.to


@dataclass
class World:
    """A store under one leader after the other; `wall` is what the present one's clock says."""

    folder: Path
    elapsed: float = 0.0
    wrong_by: float = 0.0
    good: bool = True
    qdrant: Qdrant = field(default_factory=Qdrant)
    dropped: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = Store.open(str(self.folder / "store"))
        self.generations = Generations(self.store)
        self.snapshots = Snapshots(self.store)
        self.controls = Controls(self.store)
        self.lead()

    def wall(self) -> float:
        return BEGAN + self.elapsed + self.wrong_by

    def lead(self) -> None:
        """A new leader: nothing is in its memory, and its monotonic clock began elsewhere."""
        began = self.elapsed
        self.memory = Memory()
        records = Records.of(self.store)
        self.replication = ReplicationState(self.generations)
        context = BuildContext(
            records, self.qdrant, self.replication, tasks=None, metrics=None, settings=SETTINGS,  # type: ignore[arg-type]
            memory=self.memory,
        )  # fmt: skip
        corpus = SimpleNamespace(version=lambda: 1)
        self.observer = Observer(context, corpus, clock=lambda: self.elapsed - began)  # type: ignore[arg-type]
        baselines = GateBaselines(records.generations, records.snapshots, 0)
        self.tracker = BuildTracker(context, baselines)

    def publish(self) -> None:
        number = len(self.snapshots.all()) + 1
        publish(self.store, self.folder / f"snapshot-{number}", number)

    def look(self) -> list[BeginBuild | Action]:
        self.elapsed += 1.0
        seen = self.tracker.update(self.observer.observe())
        actions = decide(seen)
        for action in actions:
            self.perform(action)
        return actions

    def perform(self, action: BeginBuild | Action) -> None:
        if isinstance(action, BeginBuild):
            self.begin(action)
            return
        number, state, build = action.generation, action.state, self.memory.build
        match action.step:
            case Step.RECORD_STATE if state:
                self.record(number, state, action.why)
            case Step.PREPARE_COLLECTION if build:
                self.qdrant.names.add(collection_name(number))
                build.prepared = True
            case Step.OPTIMISE if build:
                build.optimised_at = 0.0
            case Step.START_REPLICATION if build:
                self.replication.start_catch_up(build.generation, build.generation.corpus_version)
                build.replicating = True
            case Step.VALIDATE if build:
                self.record(number, State.VALIDATING, "")
                build.verdict = Verdict(self.good, "" if self.good else "worse")
            case Step.COMMIT:
                self.commit(number, action.why)
            case Step.END_BUILD if state:
                self.record(number, state, action.why)
                self.replication.drop(number)
                self.memory.build = None
            case Step.DROP_COLLECTION:
                self.qdrant.names.discard(collection_name(number))
                self.dropped[number] = self.elapsed
                if self.generations.state(number) is State.RETIRED:
                    self.record(number, State.DELETED, "")
            case Step.POINT_ALIAS:
                self.qdrant.to = collection_name(number)

    def begin(self, wanted: BeginBuild) -> None:
        number = self.generations.next_number()
        made = generation(number, snapshot=wanted.snapshot)
        self.generations.create(made_by(made, wanted))
        self.record(number, State.BUILDING, wanted.why)

    def record(self, number: int, state: State, why: str) -> None:
        self.generations.record(number, state, why)
        if state not in ACTIVE:
            self.ended.setdefault(number, self.elapsed)

    def commit(self, number: int, why: str) -> None:
        before = self.generations.live()
        self.generations.commit(number, after=before, by="", why=why)
        serving = {number: self.generations.get(number)}
        if before:
            serving[before.generation] = self.generations.get(before.generation)
        self.replication.set_serving(serving, live=number)
        self.memory.build = None

    def roll_back(self) -> None:
        live = self.observer.live()
        if live and live.previous and self.generations.state(live.previous) in ACTIVE:
            self.commit(live.previous, "rollback")

    def do(self, event: str) -> list[BeginBuild | Action]:
        match event:
            case "publish":
                self.publish()
            case "refresh":
                self.controls.request_refresh("")
            case "roll back":
                self.roll_back()
            case "new leader":
                self.lead()
            case "gate":
                self.good = not self.good
            case "wait":
                self.elapsed += RETIREMENT
            case "looks":
                return [action for _ in range(4) for action in self.look()]
        return self.look()


def made_by(made: Generation, wanted: BeginBuild) -> Generation:
    return replace(made, created_at=time.time(), request=wanted.request, replaces=wanted.replaces)


def run(
    events: list[tuple[str, float]], *, honest: bool
) -> tuple[World, list[list[BeginBuild | Action]]]:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        with patch.object(time, "time", world.wall):
            decided = []
            for event, wrong_by in events:
                world.wrong_by = 0.0 if honest else wrong_by
                decided.append(world.do(event))
        return world, decided


EVENTS = ("publish", "refresh", "roll back", "new leader", "gate", "wait", "looks", "looks")
event = st.tuples(st.sampled_from(EVENTS), st.floats(-6 * HOURS, 6 * HOURS))


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=20))
@example([("publish", 600.0), ("looks", 600.0), ("looks", 600.0), ("publish", 0), ("looks", 0)])
@example([("publish", 0), ("looks", 0), ("looks", 0), ("looks", 0), ("refresh", -600.0)])
def test_no_clock_changes_what_leaders_decide(events: list[tuple[str, float]]) -> None:
    events = [("publish", 0.0), ("looks", 0.0), ("looks", 0.0), *events, ("looks", 0.0)]
    true, expected = run(events, honest=True)
    skewed, decided = run(events, honest=False)
    assert decided == expected
    assert skewed.dropped == true.dropped
    for number, at in skewed.dropped.items():
        assert at - skewed.ended[number] > RETIREMENT, "dropped while somebody may search it"


def test_a_turn_begins_with_a_change_of_what_is_live_and_not_with_a_leader(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish()
    for number in (1, 2):
        world.generations.create(generation(number))
    turns = []
    for term, number in enumerate((1, 2, 1), 1):
        world.generations.commit(
            number, after=world.generations.live(), by="", why="", term=10 * term
        )
        for later in (10 * term + 1, 10 * term + 2):  # each takes over, and says again what is live
            turns.append(world.observer.live())
            world.generations.fence(later, later, "")
    assert [each.turn for each in turns if each] == [1, 1, 4, 4, 7, 7]

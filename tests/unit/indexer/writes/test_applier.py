"""The planner against every history of writes: in order, none left out, of bounded work."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from realm.corpus.changes import DOCUMENT_COST, costs, step_end
from realm.corpus.table import Write
from services.indexer.writes.applier import (
    LOOK_AHEAD,
    SMALL_COST,
    STEP_COST,
    ChangeStep,
    StepPlanner,
)

SIZES = st.sampled_from([0, 10, 1_000, STEP_COST // 3, STEP_COST, 5 * STEP_COST])
VERSIONS = st.lists(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), SIZES), max_size=5), max_size=12
)


def history(versions: Sequence[Sequence[tuple[str, int]]]) -> list[Write]:
    return [
        Write(document_id, version, characters)
        for version, rows in enumerate(versions, 1)
        for document_id, characters in rows
    ]


def cost_of(writes: Sequence[Write]) -> int:
    newest = {write.document_id: write.characters for write in writes}
    return sum(DOCUMENT_COST + characters for characters in newest.values())


@given(VERSIONS, st.integers(1, 3 * STEP_COST))
def test_a_step_ends_where_its_work_is_bounded(
    versions: list[list[tuple[str, int]]], budget: int
) -> None:
    writes, upto = history(versions), len(versions)
    end, cost = step_end(writes, upto, budget)
    inside = [write for write in writes if write.version <= end]
    assert cost == cost_of(inside)
    assert end == upto or inside
    assert costs(writes) == [
        (version, cost_of([write for write in writes if write.version <= version]))
        for version in sorted({write.version for write in writes})
    ]
    longer = [each for version, each in costs(writes) if version > end]
    if cost <= budget:
        assert all(each > budget for each in longer)
    else:
        assert all(each > cost for each in longer)
        assert cost <= costs(writes)[0][1], "the first version alone is more work"


class Followed(RuleBasedStateMachine):
    """A corpus that is written to and one generation that follows it, looked at from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Write] = []
        self.newest = 0
        self.applied = 0
        self.index: dict[str, Write] = {}
        self.read = 0
        self.step: ChangeStep | None = None
        self.given_up = 0
        self.planner = StepPlanner(self.writes_between)

    def writes_between(self, after: int, upto: int) -> list[Write]:
        found = [write for write in self.writes if after < write.version <= upto]
        self.read += len(found)
        return found

    @rule(rows=st.lists(st.tuples(st.sampled_from("abcdefgh"), SIZES), max_size=5))
    def write(self, rows: list[tuple[str, int]]) -> None:
        self.newest += 1
        self.writes += [Write(name, self.newest, characters) for name, characters in rows]

    @rule()
    def look(self) -> None:
        if self.applied == self.newest:
            return
        if self.step is None:
            self.step, self.given_up = self.planner.plan(self.applied, self.newest), 0
            self.first_cost = self.step.cost
        again = self.planner.replan(self.step, self.newest)
        if again.upto != self.step.upto:
            self.given_up += 1
            assert 2 * again.cost <= self.step.cost
        self.step = again
        assert self.applied < self.step.upto <= self.newest
        assert self.given_up <= (self.first_cost // SMALL_COST).bit_length()

    @rule()
    def apply(self) -> None:
        if self.step is None:
            return
        inside = [w for w in self.writes if self.applied < w.version <= self.step.upto]
        for write in inside:
            before = self.index.get(write.document_id)
            assert before is None or before.version <= write.version, "never backwards"
            self.index[write.document_id] = write
        self.applied, self.step = self.step.upto, None

    @invariant()
    def index_is_the_corpus_at_the_applied_version(self) -> None:
        expected: dict[str, Write] = {}
        for write in self.writes:
            if write.version <= self.applied:
                expected[write.document_id] = write
        assert self.index == expected

    def teardown(self) -> None:
        """Nobody writes any more: it ends, and has not read much more than there was."""
        steps = 0
        while self.applied < self.newest:
            self.look()
            self.apply()
            steps += 1
        assert steps <= self.newest
        self.index_is_the_corpus_at_the_applied_version()


Followed.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestFollowed = Followed.TestCase


def test_a_document_that_is_deleted_meanwhile_costs_nothing() -> None:
    big = [Write("big", 1, 2_000_000), Write("small", 1, 100)]
    planner = StepPlanner(
        lambda after, upto: [each for each in big if after < each.version <= upto]
    )
    step = planner.plan(0, 1)
    assert step.cost > 2_000_000
    assert planner.replan(step, 1) is step
    big += [Write("other", 2, 100), Write("big", 3, 0), Write("tiny", 4, 40)]
    assert planner.replan(step, 2).upto == 1, "it is still wanted"
    again = planner.replan(step, 4)
    assert (again.upto, again.cost) == (4, 4 * DOCUMENT_COST + 240)


def test_small_writes_before_a_big_one_do_not_wait_for_it() -> None:
    writes = [Write("tiny", 1, 40), Write("big", 2, 2_000_000), Write("small", 3, 40)]
    planner = StepPlanner(
        lambda after, upto: [each for each in writes if after < each.version <= upto]
    )
    assert [planner.plan(after, 3).upto for after in (0, 1, 2)] == [1, 2, 3]


def test_planning_a_long_backlog_reads_each_of_it_a_few_times() -> None:
    """Today's cost a write, whatever the backlog: it was read whole for each step."""
    backlog = 20_000
    read = 0

    def writes(after: int, upto: int) -> list[Write]:
        nonlocal read
        read += upto - after
        return [Write(str(version), version, 1_500) for version in range(after + 1, upto + 1)]

    planner = StepPlanner(writes)
    applied = steps = 0
    while applied < backlog:
        step = planner.plan(applied, backlog)
        assert step.cost <= STEP_COST
        applied, steps = step.upto, steps + 1
    assert steps == backlog // (STEP_COST // (DOCUMENT_COST + 1_500))
    assert read <= steps * 4 * LOOK_AHEAD

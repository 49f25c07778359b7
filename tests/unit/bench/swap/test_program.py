"""From observations to claims."""

from dataclasses import replace
from pathlib import Path

from bench.history.events import Done, Kind, Outcome, Seen, Sent
from bench.history.history import Operation, history_of
from bench.load.session import Observations
from bench.load.transitions import Change, Transition
from bench.swap.program import Parameters, SwapRun, judge, windows
from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from tests.unit.bench.history.histories import Story

MADE = Generation(2, 2, 2, 1, "f", 2, (), "c2", 0.0, "test")
REFRESH = Transition(Change.REFRESH, 2, 5.0, 10.0, MADE, State.LIVE)
WORSE = Transition(Change.WORSE, 3, 45.0, 50.0, None, State.REJECTED)
A = Seen("a", 1, 0)
PARAMETERS = Parameters(minutes=1.0, swaps=1, audited=5, ratio=1.5)


def told(latency: float = 0.01) -> Story:
    """Around the swap as around the refusal: five searches, each found and recomputed."""
    story = Story()
    story.upsert("a", 0, (0, 1), version=1)
    for at in (9.0, 10.0, 11.0, 49.0, 50.0):
        took = latency if at < 40 else 0.01
        story.audit(story.search("a", 0, (at, at + took), claims=1, sees=[A]), "one_version")
    return story


def run(folder: Path, story: Story, **given: object) -> SwapRun:
    refreshes = given.pop("refreshes", [REFRESH, WORSE])
    story.end(90.0, A)
    values: dict[str, object] = {
        "began": 0.0,
        "ended": 100.0,
        "history": history_of(story.events),
        "restarts": {},
        "generations": Generations(Store.open(str(folder))),
        **given,
    }
    return SwapRun(Observations(**values), refreshes, seed=0)  # type: ignore[arg-type]


def failing(made: SwapRun) -> list[str]:
    return [claim.claim for claim in judge(PARAMETERS, made).claims if not claim.holds]


def test_a_clean_run_holds_every_claim(tmp_path: Path) -> None:
    assert failing(run(tmp_path, told())) == []


def test_a_broken_promise_fails_its_claim_and_is_shown(tmp_path: Path) -> None:
    story = told()
    story.search("a", 0, (60, 61), claims=1)
    made = run(tmp_path, story)
    assert any("lacks nothing" in claim for claim in failing(made))
    (shown,) = judge(PARAMETERS, made).figures["violations"]
    assert "a was written at version 1" in shown


def test_too_little_that_was_looked_at_fails(tmp_path: Path) -> None:
    story = Story()
    story.upsert("a", 0, (0, 1), version=1)
    found = failing(run(tmp_path, story))
    assert any("recomputed" in claim for claim in found)
    assert any("had to find" in claim for claim in found)


def test_each_fault_fails_its_claim(tmp_path: Path) -> None:
    faults: list[tuple[dict[str, object], str]] = [
        ({"refreshes": []}, "swaps"),
        ({"refreshes": [REFRESH, replace(WORSE, state=State.LIVE)]}, "did not end as meant"),
        ({"restarts": {"indexer": 1}}, "processes that died"),
    ]
    for number, (given, words) in enumerate(faults):
        found = failing(run(tmp_path / str(number), told(), **given))
        assert any(words in claim for claim in found), (given, found)


def test_slow_swaps_fail_the_ratio_only_where_it_is_claimed(tmp_path: Path) -> None:
    made = run(tmp_path, told(latency=1.0))
    assert any("p99" in claim for claim in failing(made))
    quick = judge(replace(PARAMETERS, ratio=None), made)
    assert not any("p99" in claim.claim for claim in quick.claims)


def operation(kind: Kind, due: float, latency: float, outcome: Outcome = Outcome.OK) -> Operation:
    """Sent late: its latency counts from when it was due."""
    sent = Sent(0, "client", 0, kind, due, due + latency / 2)
    return Operation(sent, Done(0, due + latency, outcome))


def test_windows_hold_reads_due_around_their_moment() -> None:
    reads = [operation(Kind.ANSWER, at, 0.5) for at in (7.4, 7.6, 10.0, 12.4, 12.6)]
    write = operation(Kind.UPSERT, 10.0, 1.0)
    failed = operation(Kind.SEARCH, 10.0, 30.0, Outcome.FAILED)
    waited = operation(Kind.SEARCH, 10.0, 2.0)
    waited = replace(waited, sent=replace(waited.sent, at_least=7))
    assert windows([*reads, write, failed, waited], [10.0, 100.0], 5.0) == [[0.5] * 3, []]

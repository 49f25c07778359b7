"""From observations to claims."""

from dataclasses import replace
from pathlib import Path

from bench.swap.aftermath import Aftermath
from bench.swap.ledger import Ledger
from bench.swap.refreshes import Refresh
from bench.swap.schedule import Kind
from bench.swap.verdict import Bounds, Run, judge
from bench.swap.visits import Origin, Visit
from realm.records.generations import Generation, Generations
from realm.records.states import State
from realm.records.store import Store

SNAPSHOTS = {1: 1, 2: 2}


def make_run(folder: Path, **given: object) -> Run:
    store = Store.open(str(folder))
    for number, snapshot in SNAPSHOTS.items():
        Generations(store).create(
            Generation(number, snapshot, snapshot, 1, "f", 2, (), f"c{number}", 0.0, "test")
        )
    ledger = Ledger()
    ledger.acknowledged("a", 0, 1)
    values: dict[str, object] = {
        "began": 0.0,
        "ended": 100.0,
        "visits": [read(at) for at in (9.0, 10.0, 11.0, 49.0, 50.0)],
        "refreshes": [
            Refresh(2, 2, False, 5.0, 10.0, State.LIVE),
            Refresh(3, 3, True, 45.0, 50.0, State.REJECTED),
        ],
        "ledger": ledger,
        "aftermath": Aftermath([], [], 1),
        "verdicts": {"one_version": 5},
        "restarts": {},
        "store": store,
        **given,
    }
    return Run(**values)  # type: ignore[arg-type]


def read(at: float, *, seen: tuple[str, int] = ("a", 1), **given: object) -> Visit:
    values: dict[str, object] = {"origin": Origin(1, 1, 1, 1), "passages": (seen,), **given}
    return Visit(Kind.SEARCH, 0, at, at, at + 0.01, **values)  # type: ignore[arg-type]


BOUNDS = Bounds(swaps=1, audited=5, ratio=1.5)


def failing(run: Run) -> list[str]:
    return [claim.claim for claim in judge(run, BOUNDS, 0).claims if not claim.holds]


def test_a_clean_run_holds_every_claim(tmp_path: Path) -> None:
    assert failing(make_run(tmp_path)) == []


def test_each_fault_fails_its_claim(tmp_path: Path) -> None:
    faults: list[tuple[dict[str, object], str]] = [
        ({"refreshes": []}, "swaps"),
        ({"visits": [read(1.0, failed="gone", origin=None)]}, "failed requests"),
        ({"verdicts": {"one_version": 5, "mixed": 1}}, "scores recomputed"),
        ({"verdicts": {"unknown": 50}}, "whose scores were recomputed"),
        ({"visits": [read(1.0, origin=Origin(1, 2, 1, 1))]}, "disagree"),
        ({"visits": [read(1.0, seen=("a", 7))]}, "lost documents"),
        ({"aftermath": Aftermath(["a is not there"], [], 1)}, "lost documents"),
        ({"aftermath": Aftermath([], ["a is back"], 1)}, "resurrected"),
        ({"visits": [read(1.0, fault="not there")]}, "did not find the document asked for"),
        ({"visits": [replace(read(1.0, fault="none"), kind=Kind.ANSWER)]}, "without an answer"),
        ({"restarts": {"indexer": 1}}, "processes that died"),
    ]
    for number, (given, words) in enumerate(faults):
        found = failing(make_run(tmp_path / str(number), **given))
        assert any(words in claim for claim in found), (given, found)


def test_an_answer_from_a_spoilt_snapshot_is_seen(tmp_path: Path) -> None:
    spoilt = Refresh(2, 2, True, 45.0, 50.0, State.REJECTED)
    visits = [read(60.0, origin=Origin(2, 2, 2, 1))]
    found = failing(make_run(tmp_path, refreshes=[spoilt], visits=visits))
    assert any("spoilt" in claim for claim in found)


def test_slow_swaps_fail_the_ratio_only_where_it_is_claimed(tmp_path: Path) -> None:
    slow = [Visit(Kind.SEARCH, 0, 10.0, 10.0, 11.0), *[read(at) for at in (49.0, 50.0)]]
    run = make_run(tmp_path, visits=slow)
    assert any("p99" in claim for claim in failing(run))
    quick = judge(run, Bounds(swaps=1, audited=5, ratio=None), 0)
    assert not any("p99" in claim.claim for claim in quick.claims)

"""From observations to claims."""

from dataclasses import replace
from pathlib import Path

from bench.load.ledger import Ledger
from bench.load.read_back import ReadBack
from bench.load.requests import Origin, RequestRecord
from bench.load.schedule import Kind
from bench.load.session import Observations
from bench.load.transitions import Change, Transition
from bench.swap.program import Parameters, SwapRun, judge
from realm.records.generations import Generation, Generations
from realm.records.states import State
from realm.records.store import Store

MADE = [
    Generation(number, number, number, 1, "f", 2, (), f"c{number}", 0.0, "test")
    for number in (1, 2)
]
REFRESH = Transition(Change.REFRESH, 2, 5.0, 10.0, MADE[1], State.LIVE)
WORSE = Transition(Change.WORSE, 3, 45.0, 50.0, None, State.REJECTED)


def make_run(folder: Path, **given: object) -> SwapRun:
    generations = Generations(Store.open(str(folder)))
    for made in MADE:
        generations.create(made)
    ledger = Ledger()
    ledger.acknowledged("a", 0, 1)
    refreshes = given.pop("refreshes", [REFRESH, WORSE])
    values: dict[str, object] = {
        "began": 0.0,
        "ended": 100.0,
        "records": [read(at) for at in (9.0, 10.0, 11.0, 49.0, 50.0)],
        "ledger": ledger,
        "read_back": ReadBack([], [], 1),
        "verdicts": {"one_version": 5},
        "restarts": {},
        "generations": generations,
        **given,
    }
    return SwapRun(Observations(**values), refreshes, seed=0)  # type: ignore[arg-type]


def read(at: float, *, seen: tuple[str, int] = ("a", 1), **given: object) -> RequestRecord:
    values: dict[str, object] = {"origin": Origin(1, 1, 1, 1), "passages": (seen,), **given}
    return RequestRecord(Kind.SEARCH, 0, at, at, at + 0.01, **values)  # type: ignore[arg-type]


PARAMETERS = Parameters(minutes=1.0, swaps=1, audited=5, ratio=1.5)


def failing(run: SwapRun) -> list[str]:
    return [claim.claim for claim in judge(PARAMETERS, run).claims if not claim.holds]


def test_a_clean_run_holds_every_claim(tmp_path: Path) -> None:
    assert failing(make_run(tmp_path)) == []


def test_each_fault_fails_its_claim(tmp_path: Path) -> None:
    faults: list[tuple[dict[str, object], str]] = [
        ({"refreshes": []}, "swaps"),
        ({"records": [read(1.0, failed="gone", origin=None)]}, "failed requests"),
        ({"verdicts": {"one_version": 5, "mixed": 1}}, "scores recomputed"),
        ({"verdicts": {"unknown": 50}}, "whose scores were recomputed"),
        ({"records": [read(1.0, origin=Origin(1, 2, 1, 1))]}, "disagree"),
        ({"records": [read(1.0, seen=("a", 7))]}, "lost documents"),
        ({"read_back": ReadBack(["a is not there"], [], 1)}, "lost documents"),
        ({"read_back": ReadBack([], ["a is back"], 1)}, "resurrected"),
        ({"records": [read(1.0, fault="not there")]}, "did not find the document asked for"),
        ({"records": [replace(read(1.0, fault="none"), kind=Kind.ANSWER)]}, "without an answer"),
        ({"restarts": {"indexer": 1}}, "processes that died"),
    ]
    for number, (given, words) in enumerate(faults):
        found = failing(make_run(tmp_path / str(number), **given))
        assert any(words in claim for claim in found), (given, found)


def test_an_answer_from_a_degraded_snapshot_is_seen(tmp_path: Path) -> None:
    worse = replace(WORSE, snapshot=2)
    records = [read(60.0, origin=Origin(2, 2, 2, 1))]
    found = failing(make_run(tmp_path, refreshes=[worse], records=records))
    assert any("spoilt" in claim for claim in found)


def test_slow_swaps_fail_the_ratio_only_where_it_is_claimed(tmp_path: Path) -> None:
    slow = [RequestRecord(Kind.SEARCH, 0, 10.0, 10.0, 11.0), *[read(at) for at in (49.0, 50.0)]]
    run = make_run(tmp_path, records=slow)
    assert any("p99" in claim for claim in failing(run))
    quick = judge(replace(PARAMETERS, ratio=None), run)
    assert not any("p99" in claim.claim for claim in quick.claims)

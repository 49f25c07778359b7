"""The report: figures follow from what was observed, and only from it."""

from pathlib import Path

import pytest

from realm.records.generation import Generation
from realm.records.generations import Generations
from realm.records.states import State
from realm.records.store import Store
from realm.reporting.history import quantiles
from services.standalone.load.request_log import RequestRecord, append_record, read_records
from services.standalone.observer import Sample
from services.standalone.report import Run, build_report

BEGAN = 1_000.0
FIGURES = {"phase_embed": 4.0, "phase_total": 6.0, "recall@10": 1.0, "probe_recall@5": 0.8}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path))
    found = Generations(store)
    for number, created_at in ((1, BEGAN - 50), (2, BEGAN + 50)):
        found.create(
            Generation(number, number, 10, 1, "f", 2, ("p",), f"c{number}", created_at, "test")
        )
    found.record(2, State.LIVE, report=FIGURES)
    return store


def sample(at: float, step: int) -> Sample:
    return Sample(at, None, step, {"inverse_cloze": 0.5}, None)


def report_of(store: Store, requests: list[RequestRecord], trained: list[Sample]) -> dict:  # type: ignore[type-arg]
    return build_report(Run(BEGAN, BEGAN + 120, trained, requests, {"redis": 1}), store)


def test_failed_and_mixed_answers_are_counted(store: Store) -> None:
    requests = [
        RequestRecord(BEGAN + 5, "search", 0.01, generation=1, verdict="one_version"),
        RequestRecord(BEGAN + 6, "search", 0.03, generation=2, verdict="mixed"),
        RequestRecord(BEGAN + 7, "answer", 0.5, failed="gone"),
    ]
    queries = report_of(store, requests, [])["queries"]
    assert queries["total"] == 3
    assert (queries["failed"], queries["mixed_version"], queries["audited"]) == (1, 1, 1)
    assert queries["failures"] == ["gone"]
    assert queries["latency_ms"]["search"]["p50"] == pytest.approx(20)


def test_answers_are_counted_by_generation(store: Store) -> None:
    requests = [RequestRecord(BEGAN, "search", 0.1, generation=g) for g in (1, 2, 2)]
    assert report_of(store, requests, [])["queries_by_generation"] == {"1": 1, "2": 2}


def test_only_this_runs_refreshes_count(store: Store) -> None:
    report = report_of(store, [], [])
    assert [refresh["generation"] for refresh in report["refreshes"]] == [2]
    assert report["refresh_latency_seconds"]["total"]["p50"] == 6.0
    assert report["held_out_recall"] == [{"generation": 2, "step": 10, "recall@5": 0.8}]


def test_the_trainers_rate_follows_from_its_first_and_last_step(store: Store) -> None:
    report = report_of(store, [], [sample(BEGAN, 0), sample(BEGAN + 60, 30)])
    assert report["trainer"]["steps_per_minute"] == 30
    assert report["trainer"]["losses"] == {"inverse_cloze": 0.5}


def test_the_lag_follows_from_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: BEGAN + 60)
    Generations(store).commit(2, after=None, by="test", why="refresh")
    lag = report_of(store, [], [])["lag"]
    assert {point["generation"] for point in lag} == {2}
    assert min(point["at"] for point in lag) == 60


def test_a_run_without_anything_still_reports(store: Store) -> None:
    report = report_of(store, [], [])
    assert report["queries"]["total"] == 0
    assert report["trainer"] == {}
    assert report["seconds_to_first_answer"] is None


def test_quantiles_of_nothing_are_nothing() -> None:
    assert quantiles([], 50) == {}


def test_a_half_written_record_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    append_record(file, RequestRecord(1.0, "search", 0.1))
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:10])
    requests, position = read_records(file)
    assert len(requests) == 1
    file.write_bytes(whole + whole)
    assert len(read_records(file, position)[0]) == 1

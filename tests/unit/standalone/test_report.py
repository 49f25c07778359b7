"""The report: figures follow from what was observed, and only from it."""

from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration

from realm.records.generations import Generation, Generations
from realm.records.states import State
from realm.records.store import Store
from realm.reporting.history import quantiles
from realm.v1.index_pb2 import IndexStatus
from realm.v1.types_pb2 import IndexVersion
from services.standalone.load.request_log import RequestRecord, append_record, read_records
from services.standalone.observer import Sample
from services.standalone.report import Run, build_report

BEGAN = 1_000.0
FIGURES = {"phase_embed": 4.0, "phase_total": 6.0, "recall@10": 1.0, "probe_recall@5": 0.8}


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    found = Generations(Store.open(str(tmp_path)))
    for number, created_at in ((1, BEGAN - 50), (2, BEGAN + 50)):
        found.create(
            Generation(number, number, 10, 1, "f", 2, ("p",), f"c{number}", created_at, "test")
        )
    found.record(2, State.LIVE, report=FIGURES)
    return found


def sample(at: float, step: int, lag: float = 0) -> Sample:
    live = IndexVersion(generation=1, lag_steps=int(lag), lag=Duration(seconds=int(lag)))
    return Sample(at, IndexStatus(live=live), step, {"inverse_cloze": 0.5}, None)


def report_of(
    generations: Generations, requests: list[RequestRecord], samples: list[Sample]
) -> dict:  # type: ignore[type-arg]
    return build_report(Run(BEGAN, BEGAN + 120, samples, requests, {"redis": 1}), generations)


def test_failed_and_mixed_answers_are_counted(generations: Generations) -> None:
    requests = [
        RequestRecord(BEGAN + 5, "search", 0.01, generation=1, verdict="one_version"),
        RequestRecord(BEGAN + 6, "search", 0.03, generation=2, verdict="mixed"),
        RequestRecord(BEGAN + 7, "answer", 0.5, failed="gone"),
    ]
    queries = report_of(generations, requests, [])["queries"]
    assert queries["total"] == 3
    assert (queries["failed"], queries["mixed_version"], queries["audited"]) == (1, 1, 1)
    assert queries["failures"] == ["gone"]
    assert queries["latency_ms"]["search"]["p50"] == pytest.approx(20)


def test_answers_are_counted_by_generation(generations: Generations) -> None:
    requests = [RequestRecord(BEGAN, "search", 0.1, generation=g) for g in (1, 2, 2)]
    assert report_of(generations, requests, [])["queries_by_generation"] == {"1": 1, "2": 2}


def test_only_this_runs_refreshes_count(generations: Generations) -> None:
    report = report_of(generations, [], [])
    assert [refresh["generation"] for refresh in report["refreshes"]] == [2]
    assert report["refresh_latency_seconds"]["total"]["p50"] == 6.0
    assert report["held_out_recall"] == [{"generation": 2, "step": 10, "recall@5": 0.8}]


def test_the_trainers_rate_and_the_lag_come_from_samples(generations: Generations) -> None:
    report = report_of(generations, [], [sample(BEGAN, 0), sample(BEGAN + 60, 30, lag=7)])
    assert report["trainer"]["steps_per_minute"] == 30
    assert [point["steps"] for point in report["lag"]] == [0, 7]


def test_a_run_without_anything_still_reports(generations: Generations) -> None:
    report = report_of(generations, [], [])
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

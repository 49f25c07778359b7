"""What a running cluster shows of itself: samples of a trainer's metrics, with no gateway there."""

import json
import pickle
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from rich.console import Console

from services.standalone import observer
from services.standalone.cluster import Cluster
from services.standalone.load.request_log import RequestRecord, Verdict, append_record
from services.standalone.observer import RECENT, Observer, render
from tests.waiting import until

#: Nothing listens there.
NOWHERE = "127.0.0.1:9"


def has_seen(found: Observer, step: int) -> bool:
    return bool(found.trained) and found.trained[-1].step == step


def test_of_the_trainer_the_first_and_the_last_sample_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer, "PERIOD_SECONDS", 0.05)
    registry = CollectorRegistry()
    step = Gauge(observer.TRAINER_STEP, "steps", registry=registry)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with Observer(NOWHERE, f"127.0.0.1:{server.server_port}", tmp_path / "log") as found:
            for number in (3, 5, 8):
                step.set(number)
                until(partial(has_seen, found, number), f"step {number}")
            assert [each.step for each in found.trained] == [3, 8]
            assert found.newest is not None
            assert found.newest.status is None
            console = Console(width=100)
            with console.capture() as shown:
                console.print(render(found, [], 0.0, Cluster(tmp_path, 0, train=False)))
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    assert "step 8" in shown.get()
    assert "the gateway does not answer yet" in shown.get()
    assert "http://127.0.0.1:8051" in shown.get()


def test_requests_are_counted_and_left_in_their_log(tmp_path: Path) -> None:
    file = tmp_path / "log"
    append_record(file, RequestRecord(0.0, "search", 9.0, failed="of an earlier run"))
    records = [RequestRecord(float(n), "search", 0.001 * n) for n in range(3 * RECENT)]
    records += [
        RequestRecord(1e3, "answer", 9.0, failed="gone"),
        RequestRecord(1e3, "answer", 1.0, verdict=Verdict.MIXED),
    ]
    with Observer(NOWHERE, NOWHERE, file) as found:
        for each in records:
            append_record(file, each)
    assert (found.requests.total, found.requests.failed, found.requests.mixed) == (
        len(records),
        1,
        1,
    )
    latest = [0.001 * n for n in range(2 * RECENT + 1, 3 * RECENT)]
    assert list(found.requests.recent) == [*latest, 1.0]
    assert list(found.logged_requests()) == records


def test_an_observer_of_many_requests_takes_no_more_room(tmp_path: Path) -> None:
    def kept(requests: int) -> int:
        file = tmp_path / str(requests)
        with Observer(NOWHERE, NOWHERE, file) as found:
            line = json.dumps(asdict(RequestRecord(1.0, "search", 0.1))) + "\n"
            file.write_text(line * requests)
        assert found.requests.total == requests
        return len(pickle.dumps(found.requests))

    assert kept(20 * RECENT) - kept(2 * RECENT) < RECENT

"""A trainer whose store is unavailable stays alive, retries, and ends when told to."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from realm.errors import DependencyUnavailable
from realm.records import bucket
from realm.settings import load_settings
from services.trainer import context
from services.trainer.__main__ import run
from services.trainer.context import Background, Cadence, Heartbeat, retry_while_unavailable
from services.trainer.metrics import TrainerMetrics

LIMIT = 10.0


def test_a_beat_touches_the_file_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Heartbeat("").beat()
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "heartbeat"
    Heartbeat(str(file)).beat()
    os.utime(file, (1, 1))
    Heartbeat(str(file)).beat()
    assert file.stat().st_mtime > 1


def test_retries_beat_and_end_with_the_first_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "FIRST_RETRY_SECONDS", 0.001)
    left = [1, 2]

    def work() -> str:
        if left:
            left.pop()
            raise DependencyUnavailable("the store is away")
        return "done"

    assert retry_while_unavailable(threading.Event(), Heartbeat(), work) == "done"
    nothing: dict[str, str] = {}
    with pytest.raises(KeyError):
        retry_while_unavailable(threading.Event(), Heartbeat(), lambda: nothing["other errors"])


def test_the_process_beats_while_its_store_is_unavailable_and_stops_when_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RETRIES", {"max_retries": 0})
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    beat, stop = tmp_path / "beat", threading.Event()
    settings = load_settings(store_url="s3://nowhere", heartbeat_file=str(beat), metrics_port=0)
    told = threading.Timer(0.3, stop.set)
    told.start()
    run(settings, torch.device("cpu"), stop, TrainerMetrics(CollectorRegistry()))
    told.join()
    assert beat.exists()


def test_a_result_is_taken_once_and_jobs_are_never_queued() -> None:
    gate = threading.Event()
    background: Background[bool] = Background("test")
    assert background.start(lambda: gate.wait(LIMIT))
    assert not background.start(lambda: True)
    assert background.take() is background.take(0.01) is None
    assert background.busy
    gate.set()
    assert background.take(LIMIT) is True
    assert background.take() is None
    assert not background.busy
    assert background.start(lambda: True)


def test_an_error_is_raised_where_the_result_is_taken() -> None:
    def fail() -> None:
        raise DependencyUnavailable("the store is away")

    background: Background[None] = Background("test")
    background.start(fail)
    with pytest.raises(DependencyUnavailable, match="away"):
        background.take(LIMIT)
    assert not background.busy


def test_cadence_needs_both_steps_and_seconds() -> None:
    cadence = Cadence(every_steps=10, min_seconds=60, last_step=0, last_time=0)
    assert not cadence.due(9, 100)
    assert not cadence.due(10, 59)
    assert cadence.due(10, 60)
    cadence.happened(10, 60)
    assert not cadence.due(20, 119)
    assert cadence.due(27, 121)

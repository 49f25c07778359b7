"""The trainer's process while its store is not there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from prometheus_client import CollectorRegistry

from realm.records import bucket
from realm.settings import load_settings
from services.trainer.main import run
from services.trainer.metrics import TrainerMetrics


def test_who_waits_for_the_store_lives_and_ends_when_told_to(
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

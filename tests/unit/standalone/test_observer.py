"""What a running cluster shows of itself: samples of a trainer's metrics, with no gateway there."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from rich.console import Console

from services.standalone import observer
from services.standalone.observer import Observer, render
from tests.waiting import until

#: Nothing listens there.
NOWHERE = "127.0.0.1:9"


def last_step(found: Observer) -> int | None:
    return found.trained[-1].step if found.trained else None


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
                until(lambda wanted=number: last_step(found) == wanted, f"step {number}")
            assert [each.step for each in found.trained] == [3, 8]
            assert found.newest is not None
            assert found.newest.status is None
            console = Console(width=100)
            with console.capture() as shown:
                console.print(render(found, [], 0.0, NOWHERE))
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    assert "step 8" in shown.get()
    assert "the gateway does not answer yet" in shown.get()

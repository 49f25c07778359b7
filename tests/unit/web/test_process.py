"""The process: it answers before any gateway is there, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

from services.standalone.cluster import HOST, Cluster
from tests.ports import free_port
from tests.waiting import until


def test_it_answers_before_any_gateway_is_there_and_ends_when_told_to(tmp_path: Path) -> None:
    port = free_port()
    spec = Cluster(tmp_path, 0, train=False).web()
    environment = {**os.environ, **spec.environment, "REALM_WEB_LISTEN": f"{HOST}:{port}"}
    environment |= {"REALM_METRICS_PORT": "0", "REALM_GATEWAY_ADDRESS": f"{HOST}:1"}
    with subprocess.Popen(spec.command, env=environment, stderr=subprocess.PIPE, text=True) as run:
        try:
            with httpx2.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as http:

                def status(path: str) -> int:
                    try:
                        return http.get(path).status_code
                    except httpx2.ConnectError:
                        return 0

                until(lambda: status("/readyz") == 200, "readiness")
                assert status("/") == 200
                assert status("/v1/index") == 503
        finally:
            run.send_signal(signal.SIGTERM)
            _, said = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "Traceback" not in said


def test_settings_that_cannot_be_used_are_one_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "REALM_WEB_LISTEN": "0.0.0.0:0"}
    done = subprocess.run(
        [sys.executable, "-m", "services.web"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("web: whoever reaches 0.0.0.0:0 could do anything there")

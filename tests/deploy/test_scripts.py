"""What runs in the cluster besides the services: the first check, the making of secrets."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.deploy.rendering import K8S, find, main_container, render
from tests.http_server import HttpServer, serving

BASE = K8S / "base"


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BASE / script), *arguments],
        env={"PATH": os.environ["PATH"], "CHECK_SECONDS": "0.2", **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextmanager
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_check_passes_where_all_is_there(tmp_path: Path) -> None:
    with listener() as port:
        done = run(
            "wait_for.py",
            *("store", "redis", "qdrant"),
            REALM_STORE_URL=f"file://{tmp_path}",
            REALM_REDIS_URL=f"redis://:secret@127.0.0.1:{port}/0",
            REALM_QDRANT_URL=f"http://127.0.0.1:{port}",
        )
    assert (done.returncode, done.stdout) == (0, "all there\n")
    assert list(tmp_path.iterdir()) == []


def test_check_names_what_does_not_answer_and_lets_the_process_start(tmp_path: Path) -> None:
    port = closed_port()
    done = run(
        "wait_for.py",
        *("store", "redis"),
        REALM_STORE_URL=f"file://{tmp_path}",
        REALM_REDIS_URL=f"redis://:secret@127.0.0.1:{port}/0",
    )
    assert done.returncode == 0
    assert f"missing: redis does not answer at 127.0.0.1:{port}" in done.stdout
    assert "secret" not in done.stdout


def test_check_refuses_a_store_that_is_not_mounted(tmp_path: Path) -> None:
    done = run("wait_for.py", "store", REALM_STORE_URL=f"file://{tmp_path / 'gone'}")
    assert done.returncode == 1
    assert "is its volume mounted?" in done.stdout


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_check_refuses_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = run("wait_for.py", "store", REALM_STORE_URL=f"file://{tmp_path}")
    assert done.returncode == 1
    assert "cannot write" in done.stdout


BUCKET = {"REALM_STORE_URL": "s3://bucket", "AWS_REGION": "r", "AWS_ACCESS_KEY_ID": "a"}


def test_check_names_the_keys_that_a_bucket_lacks() -> None:
    nobody = "http://127.0.0.1:1"
    done = run("wait_for.py", "store", **BUCKET, AWS_EC2_METADATA_SERVICE_ENDPOINT=nobody)
    assert done.returncode == 1
    assert "AWS_SECRET_ACCESS_KEY are not set" in done.stdout


def test_check_takes_the_role_of_a_node_for_keys() -> None:
    with socket.create_server(("127.0.0.1", 0)) as metadata:
        there = f"http://127.0.0.1:{metadata.getsockname()[1]}"
        done = run("wait_for.py", "store", **BUCKET, AWS_EC2_METADATA_SERVICE_ENDPOINT=there)
    assert done.returncode == 0, done.stdout


class Api(BaseHTTPRequestHandler):
    """As much of Kubernetes' API as making one Secret needs."""

    secrets: dict[str, dict[str, str]]
    forbidden = False

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body["metadata"]["name"]
        right = self.headers["Authorization"] == "Bearer token" and not self.forbidden
        status = 409 if name in self.secrets else 201
        if not right or self.path != "/api/v1/namespaces/realm/secrets":
            status = 403
        if status == 201:
            self.secrets[name] = body["stringData"]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"message": f"status {status}"}).encode())


@contextmanager
def api(*, forbidden: bool = False) -> Iterator[tuple[type[Api], str]]:
    handler = type("Handler", (Api,), {"secrets": {}, "forbidden": forbidden})
    with serving(HttpServer(handler)) as server:
        yield handler, server.url


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "namespace").write_text("realm")
    (tmp_path / "token").write_text("token\n")
    return tmp_path


def test_secrets_are_random_and_made_once(account: Path) -> None:
    with api() as (server, url):
        place = {"ACCOUNT_FOLDER": str(account), "API_SERVER": url}
        first = run("make_secrets.py", "one", "a", "b", **place)
        made = dict(server.secrets["one"])
        again = run("make_secrets.py", "one", "a", "b", **place)
        assert (first.returncode, again.returncode) == (0, 0)
        assert server.secrets["one"] == made
    assert set(made) == {"a", "b"}
    assert made["a"] != made["b"]
    assert all(len(value) >= 32 and value.isalnum() for value in made.values())
    assert made["a"] not in first.stdout + first.stderr


def test_a_refusal_is_said_and_fails(account: Path) -> None:
    with api(forbidden=True) as (_, url):
        done = run("make_secrets.py", "one", "a", ACCOUNT_FOLDER=str(account), API_SERVER=url)
    assert done.returncode == 1
    assert "cannot be made" in done.stdout


def test_an_api_that_is_out_of_reach_is_said(account: Path) -> None:
    place = f"http://127.0.0.1:{closed_port()}"
    done = run("make_secrets.py", "one", "a", ACCOUNT_FOLDER=str(account), API_SERVER=place)
    assert done.returncode == 1
    assert "network policy" in done.stdout


def test_scripts_use_the_standard_library_alone() -> None:
    for script in ("wait_for.py", "make_secrets.py"):
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                f"import runpy; runpy.run_path({str(BASE / script)!r})",
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("age_seconds", [5, 3600])
@pytest.mark.parametrize(("kind", "name"), [("Deployment", "embedder"), ("StatefulSet", "trainer")])
def test_liveness_is_the_heartbeats_age(
    kind: str, name: str, age_seconds: int, tmp_path: Path
) -> None:
    beat = tmp_path / "heartbeat"
    beat.touch()
    then = beat.stat().st_mtime - age_seconds
    os.utime(beat, (then, then))
    probe = main_container(find(render("cluster"), kind, name))["livenessProbe"]
    command = [part.replace("/tmp/heartbeat", str(beat)) for part in probe["exec"]["command"]]
    done = subprocess.run(command, timeout=10, check=False)
    assert (done.returncode == 0) == (age_seconds < 60)


@pytest.mark.parametrize("join_at", ["", "http://qdrant-1.qdrant-headless:6335"])
def test_a_peer_starts_alone_or_joins(join_at: str, tmp_path: Path) -> None:
    for name, text in (("entrypoint.sh", 'echo "$@"'), ("hostname", "echo qdrant-0")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "join-at").write_text(join_at)
    done = subprocess.run(
        ["sh", str(BASE / "qdrant-start.sh")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOIN_AT": str(tmp_path / "join-at")},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    expected = ["--uri", "http://qdrant-0.qdrant-headless:6335"]
    expected += ["--bootstrap", join_at] if join_at else []
    assert done.stdout.split() == expected

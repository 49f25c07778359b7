"""A peer of Qdrant with an empty volume joins the cluster that there is; none founds another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.rendering import K8S
from tests.http_server import HttpServer, serving
from tests.ports import free_port
from tests.waiting import until

SCRIPT = K8S / "base" / "qdrant_join.py"
HOSTS = [f"qdrant-{number}.qdrant-headless" for number in range(3)]
EMPTY = {"status": "empty"}
SECONDS = 30


def member(**ids: int) -> dict[str, Any]:
    """What a peer says that is in a cluster of these."""
    peers = {
        str(number): {"uri": f"http://{name.replace('_', '-')}.qdrant-headless:6335/"}
        for name, number in ids.items()
    }
    return {"status": "enabled", "peers": peers}


@dataclass
class Peers:
    """What each of the other peers says, as Qdrant's `/cluster` does; one that is missing does not
    answer. The script reaches them through this as its proxy."""

    says: dict[str, dict[str, Any]] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The proxy's URL."""
        told = self

        class Proxy(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host = self.path.split("/")[2].partition(":")[0]
                told.asked.append(host)
                told.keys.add(self.headers["api-key"])
                if host in told.says:
                    self._answer(told.says[host])
                else:
                    self.send_error(502)

            def do_DELETE(self) -> None:
                assert self.path.endswith("?force=true")
                number = self.path.rpartition("/")[2].partition("?")[0]
                told.forgotten.append(number)
                for each in told.says.values():
                    each.get("peers", {}).pop(number, None)
                self._answer(True)

            def _answer(self, result: object) -> None:
                body = json.dumps({"result": result}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        with serving(HttpServer(Proxy)) as server:
            yield server.url


@dataclass
class Joining:
    process: subprocess.Popen[str]
    join_at: Path
    port: int

    def result(self) -> str:
        said, _ = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == 0, said
        return self.join_at.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts the script as peer number so and so."""
    (tmp_path / "storage").mkdir()
    started: list[subprocess.Popen[str]] = []

    def begin(number: int, proxy: str, hosts: list[str] = HOSTS) -> Joining:
        port, join_at = free_port(), tmp_path / "join-at"
        environment = {
            "PATH": os.environ["PATH"], "http_proxy": proxy, "HOSTNAME": f"qdrant-{number}",
            "REALM_QDRANT_URL": ",".join(f"http://{host}:6334" for host in hosts),
            "QDRANT__SERVICE__API_KEY": "secret", "STORAGE": str(tmp_path / "storage"),
            "JOIN_AT": str(join_at), "HTTP_PORT": str(port), "PAUSE_SECONDS": "0.1",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        return Joining(process, join_at, port)

    yield begin
    for each in started:
        each.kill()
        each.communicate(timeout=SECONDS)


def test_the_first_founds_once_all_others_say_that_they_are_empty(start: Any) -> None:
    others = Peers({HOSTS[1]: EMPTY})
    with others.serving() as proxy:
        first = start(0, proxy)
        # The third has not come up yet: it might be in a cluster.
        until(lambda: others.asked.count(HOSTS[2]) > 2, "it asks again")
        assert first.process.poll() is None
        others.says[HOSTS[2]] = EMPTY
        assert first.result() == ""
    assert others.keys == {"secret"}


def test_another_waits_until_there_is_a_cluster_and_says_meanwhile_that_it_is_empty(
    start: Any,
) -> None:
    others = Peers({HOSTS[0]: EMPTY, HOSTS[1]: EMPTY})

    def says_empty() -> bool:
        with suppress(OSError):
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"http://127.0.0.1:{third.port}/cluster", timeout=5) as answer:
                return bool(json.loads(answer.read())["result"] == EMPTY)
        return False

    with others.serving() as proxy:
        third = start(2, proxy)
        until(says_empty, "it says so")
        assert third.process.poll() is None
        others.says[HOSTS[0]] = member(qdrant_0=1)
        assert third.result() == f"http://{HOSTS[0]}:6335"
    assert not others.forgotten


@pytest.mark.parametrize("number", [0, 1])
def test_a_peer_that_lost_its_volume_joins_anew_and_is_forgotten_as_what_it_was(
    start: Any, number: int
) -> None:
    """The founding one too: its cluster is where the others are."""
    known = member(qdrant_0=10, qdrant_1=11, qdrant_2=12)
    others = Peers({host: known for host in HOSTS if host != HOSTS[number]})
    with others.serving() as proxy:
        assert start(number, proxy).result() != ""
    assert others.forgotten == [f"1{number}"]


def test_a_peer_comes_back_to_its_volume_whoever_else_is_there(start: Any, tmp_path: Path) -> None:
    (tmp_path / "storage" / "raft_state.json").write_text("{}")
    others = Peers()
    with others.serving() as proxy:
        assert start(0, proxy).result() == ""
    assert not others.asked


def test_one_peer_alone_founds(start: Any) -> None:
    assert start(0, "http://127.0.0.1:1", ["qdrant"]).result() == ""

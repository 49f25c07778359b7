"""Three peers of a real Qdrant on this machine: each at a host of its own, to be killed, frozen,
cut off, filled up, and robbed of its volume.

Clients and the other peers reach each of them through proxies. Settings are those of the
StatefulSet in deploy/k8s, and its own script says what a peer with an empty volume does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock
from urllib.request import urlopen

from bench.apparatus import tools
from bench.apparatus.apparatus import await_start
from bench.apparatus.disk import Disk
from bench.apparatus.network import Cut, cut_link
from bench.apparatus.toxiproxy import Toxiproxy
from bench.ports import claim_offset
from realm.errors import DependencyUnavailable
from services.standalone.cluster import ProcessSpec
from services.standalone.supervisor import ChildProcess

COUNT = 3
HTTP, GRPC, P2P, TOXIPROXY = 6333, 6334, 6335, 8474
#: Whose disk is small: the last one's.
ON_SMALL_DISK = COUNT - 1
JOIN_SCRIPT = Path(__file__).parents[2] / "deploy/k8s/base/qdrant_join.py"
START_SECONDS, STOP_SECONDS, ANSWER_SECONDS, POLL_SECONDS = 60.0, 20.0, 5.0, 0.2


@dataclass(frozen=True, slots=True)
class Address:
    """Where a peer listens, and the host at which all others reach it."""

    number: int
    offset: int

    @property
    def listens(self) -> str:
        return f"127.0.2.{self.number + 1}"

    @property
    def reached(self) -> str:
        return f"127.0.3.{self.number + 1}"

    def own(self, port: int) -> str:
        return f"{self.listens}:{port + self.offset}"

    def proxied(self, port: int) -> str:
        return f"{self.reached}:{port + self.offset}"

    def proxy(self, port: int) -> str:
        """Name of the proxy before a port."""
        return f"peer-{self.number}:{port}"


class Peers:
    """`with Peers(folder) as peers:`; they are a cluster then. A peer is named by its number, of
    which 0 founded the cluster."""

    def __init__(self, folder: Path) -> None:
        """:raises BadSettings: if no Qdrant, or no toxiproxy, is installed."""
        self._binary, self._toxiproxy = tools.qdrant(), tools.toxiproxy()
        self._folder = folder
        self._disk = Disk(self._volume(ON_SMALL_DISK))
        self._offset, self._claim = claim_offset()
        self._addresses = [Address(number, self._offset) for number in range(COUNT)]
        self._children: list[ChildProcess | None] = [None] * COUNT
        self._proxies = Toxiproxy(f"127.0.0.1:{TOXIPROXY + self._offset}")
        self._running = ExitStack()

    @property
    def url(self) -> str:
        """As `REALM_QDRANT_URL` names them."""
        return ",".join(f"http://{each.proxied(GRPC)}" for each in self._addresses)

    def __enter__(self) -> Peers:
        with ExitStack() as starting:
            starting.callback(self._claim.close)
            starting.enter_context(self._proxied())
            self._disk.open()
            starting.callback(self._disk.close)
            starting.callback(self._stop)
            self._start(0, "")
            for number in range(1, COUNT):
                self._start(number, self._uri(0))
            self.await_cluster()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def kill(self, number: int) -> None:
        self._signal(number, signal.SIGKILL)
        child = self._child(number)
        child.wait(STOP_SECONDS)

    def start_again(self, number: int) -> None:
        """One that was killed, with what is in its volume."""
        self._start(number, "")

    def freeze(self, number: int) -> None:
        self._signal(number, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        self._signal(number, signal.SIGCONT)

    def cut_off_from_clients(self, number: int) -> None:
        for port in (HTTP, GRPC):
            cut_link(self._proxies, self._addresses[number].proxy(port), Cut.HELD)

    def cut_off_from_peers(self, number: int) -> None:
        """It hears nothing of the others; clients reach it."""
        cut_link(self._proxies, self._addresses[number].proxy(P2P), Cut.HELD)

    def heal(self, number: int) -> None:
        """Its network."""
        for port in (HTTP, GRPC, P2P):
            self._proxies.heal(self._addresses[number].proxy(port))

    def fill_disk(self) -> None:
        """Of the last peer."""
        self._disk.fill()

    def empty_disk(self) -> None:
        self._disk.empty()

    def lose_volume(self, number: int) -> None:
        """It is killed, and comes back with nothing, as the StatefulSet's script has it."""
        self.kill(number)
        shutil.rmtree(self._volume(number))
        joins = _join_script(HTTP + self._offset)
        own, *others = (self._addresses[each].reached for each in (number, *self._others(number)))
        deadline = time.monotonic() + START_SECONDS
        while (found := joins.decide(own, others, number == 0)) is None:
            if time.monotonic() > deadline:
                raise DependencyUnavailable(f"peer {number} finds no cluster to join")
            time.sleep(POLL_SECONDS)
        self._start(number, f"http://{found}:{P2P + self._offset}" if found else "")

    def restart_if_dead(self, number: int) -> bool:
        """Whether its consensus had ended, which only a restart mends: the command of the alert."""
        seen = self.ask(number, "/cluster") or {}
        working = seen.get("consensus_thread_status", {}).get("consensus_thread_status")
        if working == "working":
            return False
        self.kill(number)
        self.start_again(number)
        return True

    def ask(self, number: int, path: str) -> Any:
        """What a peer itself says; None if it does not answer."""
        with suppress(OSError, ValueError):
            url = f"http://{self._addresses[number].own(HTTP)}{path}"
            with urlopen(url, timeout=ANSWER_SECONDS) as answer:
                return json.loads(answer.read())["result"]
        return None

    def await_cluster(self) -> None:
        """Until every peer knows all peers, and works.

        :raises DependencyUnavailable: if that takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while not all(self._knows_all(number) for number in range(COUNT)):
            if time.monotonic() > deadline:
                raise DependencyUnavailable(f"the peers are no cluster; logs: {self._folder}")
            time.sleep(POLL_SECONDS)

    def copies(self, collection: str) -> list[dict[str, Any] | None]:
        """What each peer holds of a collection of one shard: `state` and `points_count`."""
        found = []
        for number in range(COUNT):
            seen = self.ask(number, f"/collections/{collection}/cluster") or {}
            found.append(next(iter(seen.get("local_shards", [])), None))
        return found

    def _knows_all(self, number: int) -> bool:
        seen = self.ask(number, "/cluster") or {}
        return len(seen.get("peers", {})) == COUNT and bool(self.ask(number, "/collections"))

    def _others(self, number: int) -> list[int]:
        return [each for each in range(COUNT) if each != number]

    def _start(self, number: int, join: str) -> None:
        address, volume = self._addresses[number], self._volume(number)
        volume.mkdir(parents=True, exist_ok=True)
        command = [str(self._binary), "--uri", self._uri(number), "--disable-telemetry"]
        environment = {
            "QDRANT__SERVICE__HOST": address.listens,
            "QDRANT__SERVICE__HTTP_PORT": str(HTTP + self._offset),
            "QDRANT__SERVICE__GRPC_PORT": str(GRPC + self._offset),
            "QDRANT__SERVICE__ENABLE_STATIC_CONTENT": "false",
            "QDRANT__CLUSTER__ENABLED": "true",
            "QDRANT__CLUSTER__P2P__PORT": str(P2P + self._offset),
            "QDRANT__STORAGE__STORAGE_PATH": str(volume / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(volume / "snapshots"),
            "QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR": str(COUNT),
            "QDRANT__STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR": "2",
            "QDRANT__STORAGE__PERFORMANCE__OPTIMIZER_CPU_BUDGET": "1",
        }
        log = self._folder / f"peer-{number}.log"
        spec = ProcessSpec(
            f"peer-{number}", (*command, *(("--bootstrap", join) if join else ())),
            environment, log, folder=self._folder,
        )  # fmt: skip
        child = ChildProcess(self._disk.fit(spec) if number == ON_SMALL_DISK else spec)
        child.start()
        self._children[number] = child
        self._await_port(number)

    def _await_port(self, number: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.ask(number, "/cluster") is None:
            if time.monotonic() > deadline or not self._child(number).running:
                raise DependencyUnavailable(f"peer {number} does not start; logs: {self._folder}")
            time.sleep(POLL_SECONDS)

    def _stop(self) -> None:
        running = [each for each in self._children if each is not None]
        for number, each in enumerate(running):
            each.terminate()
            if each.running:
                self._signal(number, signal.SIGCONT)
        for each in running:
            each.wait(STOP_SECONDS)

    @contextmanager
    def _proxied(self) -> Iterator[None]:
        options = ("-host", "127.0.0.1", "-port", str(TOXIPROXY + self._offset))
        log = self._folder / "toxiproxy.log"
        spec = ProcessSpec("toxiproxy", (str(self._toxiproxy), *options), {}, log)
        child = ChildProcess(spec)
        child.start()
        try:
            await_start(self._open_proxies)()
            yield
        finally:
            child.terminate()
            child.wait(STOP_SECONDS)

    def _open_proxies(self) -> None:
        for each in self._addresses:
            for port in (HTTP, GRPC, P2P):
                self._proxies.add(each.proxy(port), each.proxied(port), each.own(port))

    def _signal(self, number: int, which: signal.Signals) -> None:
        pid = self._child(number).pid
        assert pid is not None, "it was started"
        os.kill(pid, which)

    def _child(self, number: int) -> ChildProcess:
        child = self._children[number]
        assert child is not None, "it was started"
        return child

    def _uri(self, number: int) -> str:
        return f"http://{self._addresses[number].proxied(P2P)}"

    def _volume(self, number: int) -> Path:
        return self._folder / f"volume-{number}"


def _join_script(port: int) -> ModuleType:
    """What the StatefulSet runs before a peer starts, for peers whose HTTP port is this one."""
    spec = importlib.util.spec_from_file_location("qdrant_join", JOIN_SCRIPT)
    assert spec is not None, "it is a file"
    assert spec.loader is not None, "of Python's"
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(os.environ, {"HTTP_PORT": str(port)}):
        spec.loader.exec_module(module)
    return module


def main() -> None:
    """Runs three peers until Ctrl-C, for programs that take theirs from REALM_TEST_QDRANT_URL."""
    parser = argparse.ArgumentParser("python -m bench.apparatus.peers", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="takes volumes and logs")
    folder = parser.parse_args().folder.absolute()
    for each in (signal.SIGINT, signal.SIGTERM):  # ignored, if a shell began it in the background
        signal.signal(each, signal.default_int_handler)
    with Peers(folder) as peers:
        sys.stdout.write(f"REALM_TEST_QDRANT_URL={peers.url}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()

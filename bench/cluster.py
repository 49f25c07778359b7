"""A cluster of real processes, all but the trainer, on free ports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from bench.apparatus.apparatus import STORE_URL, Apparatus, Part
from bench.ports import claim_offset
from bench.processors import keep_on
from realm.client import Client
from realm.client.transport import ConnectionOptions
from realm.errors import BadSettings, DependencyUnavailable, RealmError
from realm.records.snapshots import Snapshots
from realm.records.store import Store
from services.standalone.cluster import Cluster, ProcessSpec
from services.standalone.supervisor import POLL_SECONDS, ChildProcess, Supervisor

#: Benches and tests of whole clusters use this Qdrant, if it is set: a URL, or several.
OUTSIDE_QDRANT = "REALM_TEST_QDRANT_URL"
FIRST_ANSWER_SECONDS = 300.0


class BenchCluster:
    """`with BenchCluster(folder, settings) as cluster:`; it takes writes before workers start."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        gateways: int = 1,
        *,
        standby: bool = False,
        apparatus: Set[Part] = frozenset(),
        qdrant: str = "",
    ) -> None:
        """The first generation has vectors, unless settings say otherwise.

        :param apparatus: what can be made to fail; with an S3 the store lies there.
        :param qdrant: URLs; empty: those that `REALM_TEST_QDRANT_URL` names, else one of its own.
        :raises BadSettings: if what that needs is not installed.
        """
        settings = {"REALM_WORDS_FIRST": "false", **settings}
        offset, self._claim = claim_offset()
        self._copies = str(folder / "copies")
        if Part.S3 in apparatus:
            stored = {"REALM_STORE_URL": STORE_URL, "REALM_STORE_CACHE": self._copies}
            settings = {**settings, **stored}
        self.cluster = Cluster(
            folder, offset, train=False, gateways=gateways, standby=standby, settings=settings,
            qdrant=qdrant or os.environ.get(OUTSIDE_QDRANT, ""),
        )  # fmt: skip
        self.cluster.check()
        if self.cluster.qdrant and apparatus & {Part.NETWORK, Part.DISK}:
            raise BadSettings(
                f"{OUTSIDE_QDRANT} names a Qdrant whose network and disk are out of reach: leave"
                " those faults out, or unset it"
            )
        self.apparatus = Apparatus(self.cluster, apparatus)
        self.supervisor = Supervisor(self.cluster, _sleep)
        self._running = ExitStack()

    def __enter__(self) -> BenchCluster:
        try:
            self.start_infrastructure()
            self._start(self.cluster.front())
            self.supervisor.await_ports([*self.cluster.indexer_names, *self.cluster.gateway_names])
            for address in self.gateways:
                self.await_status(address)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.supervisor.stop()
        self._running.close()
        self._claim.close()

    def start_infrastructure(self) -> None:
        """Redis, Qdrant and the apparatus alone."""
        self._running.enter_context(self.apparatus)
        infrastructure = self.cluster.infrastructure()
        self.supervisor.start([self.apparatus.on_disk(each) for each in infrastructure])
        self.supervisor.await_ports([each.name for each in infrastructure])

    @cached_property
    def store(self) -> Store:
        """Out of reach of faults of the network; an S3 is there once the infrastructure is."""
        return Store.open(self.cluster.environment()["REALM_STORE_URL"], self._copies)

    @cached_property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.store)

    @property
    def gateways(self) -> list[str]:
        """Addresses."""
        return [self.cluster.address(name) for name in self.cluster.gateway_names]

    @property
    def service_names(self) -> list[str]:
        """Indexers, gateways and embedders."""
        services = [*self.cluster.front(), *self.cluster.embedders()]
        return [each.name for each in services]

    @property
    def redis_url(self) -> str:
        return self.cluster.environment()["REALM_REDIS_URL"]

    @property
    def qdrant_url(self) -> str:
        return self.cluster.environment()["REALM_QDRANT_URL"]

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process died; empty if none did."""
        processes = self.supervisor.processes
        return {each.spec.name: each.restarts for each in processes if each.restarts}

    def start_embedders(self, threads: int | None = None) -> None:
        """No trainer: the bench itself publishes snapshots.

        :param threads: of each one's arithmetic; None: as on any machine.
        """
        specs = self.cluster.embedders()
        if threads is not None:
            own = {"REALM_THREADS": str(threads)}
            specs = [replace(each, environment={**each.environment, **own}) for each in specs]
        self._start(specs)

    def named(self, start: str) -> list[ChildProcess]:
        """The processes whose names begin so."""
        return [each for each in self.supervisor.processes if each.spec.name.startswith(start)]

    def keep_on(self, processors: set[int], start: str = "") -> None:
        """The processes whose names begin so, on these processors alone."""
        for child in self.named(start):
            if child.pid is not None:
                keep_on(processors, child.pid)

    def _start(self, specs: Sequence[ProcessSpec]) -> None:
        self.supervisor.start([self.apparatus.fit(each) for each in specs])

    def realm(self, *arguments: str | Path) -> dict[str, Any]:
        """What a command prints, given with `--json` as an operator gives it.

        :raises DependencyUnavailable: with its error output, if it fails.
        """
        environment = {"XDG_STATE_HOME": str(self.cluster.folder / "notes")}
        ended = subprocess.run(
            [sys.executable, "-m", "realm.cli.main", *arguments, "--json"],
            env={**os.environ, **self.cluster.environment(), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            words = " ".join(map(str, arguments))
            raise DependencyUnavailable(f"`realm {words}` failed: {ended.stderr}")
        found: dict[str, Any] = json.loads(ended.stdout)
        return found

    def publish(self, folder: Path) -> int:
        """Publishes a model as an operator does: the snapshot's number."""
        return int(self.realm("snapshots", "publish", folder)["snapshot"])

    def await_answers(self, seconds: float = FIRST_ANSWER_SECONDS) -> None:
        """Waits until every gateway answers.

        :raises DependencyUnavailable: if one does not in time.
        """
        for address in self.gateways:
            self.await_answer(address, seconds)

    def await_answer(
        self,
        address: str,
        seconds: float = FIRST_ANSWER_SECONDS,
        **options: Unpack[ConnectionOptions],
    ) -> None:
        with Client(address, timeout=5, **options) as client:
            self.until(lambda: _answers(client), f"a first answer of {address}", seconds)

    def await_status(self, address: str) -> None:
        """A port that listens is not enough: until it sees the store, a process only answers
        health, and closes that port for a moment once it does."""
        with Client(address, timeout=5) as client:
            self.until(lambda: _tells_status(client), f"a first status of {address}")

    def until(
        self, condition: Callable[[], bool], what: str, seconds: float = FIRST_ANSWER_SECONDS
    ) -> None:
        """Waits, and starts again what dies meanwhile.

        :raises DependencyUnavailable: after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.supervisor.restart_dead()
            if time.monotonic() > deadline:
                raise DependencyUnavailable(
                    f"waited {seconds:.0f} s for {what}; logs: {self.cluster.logs}"
                )
            time.sleep(POLL_SECONDS)


def _answers(client: Client) -> bool:
    try:
        return bool(client.search("anything", limit=1).passages)
    except RealmError:
        return False


def _tells_status(client: Client) -> bool:
    try:
        client.status()
    except RealmError:
        return False
    return True


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False

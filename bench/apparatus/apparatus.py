"""The apparatus of one cluster: started before it, stopped after it, hit by no fault itself."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Set
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from unittest import mock

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.apparatus import s3, tools
from bench.apparatus.clocks import Clocks, remove_leftovers
from bench.apparatus.disk import Disk
from bench.apparatus.network import Network
from bench.ports import APPARATUS_PORTS
from realm.errors import DependencyUnavailable
from services.standalone.cluster import HOST, Cluster, ProcessSpec
from services.standalone.supervisor import ChildProcess

STORE_URL = f"s3://{s3.BUCKET}/store"
ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 10.0

await_start = retry(
    retry=retry_if_exception_type(DependencyUnavailable),
    stop=stop_after_delay(START_SECONDS),
    wait=wait_fixed(0.1),
    reraise=True,
)


class Part(StrEnum):
    """What can be made to fail."""

    NETWORK = "network"
    CLOCKS = "clocks"
    S3 = "s3"
    #: Of Qdrant.
    DISK = "disk"


class Apparatus:
    """`with Apparatus(cluster, parts) as made:`; `network`, `clocks` and `disk` are there if
    asked for.
    `s3_faults` are those that last, each under a name of its own."""

    def __init__(self, cluster: Cluster, parts: Set[Part]) -> None:
        """:raises BadSettings: if a part needs what is not installed."""
        self._cluster = cluster
        self._s3 = f"http://{self._address('s3')}" if Part.S3 in parts else ""
        self._toxiproxy = tools.toxiproxy() if Part.NETWORK in parts else None
        self.network: Network | None = None
        self.clocks: Clocks | None = None
        self.s3_faults: dict[str, list[s3.S3Fault]] = {}
        if Part.NETWORK in parts:
            store = self._address("s3") if Part.S3 in parts else ""
            self.network = Network(cluster, self._address("toxiproxy"), store)
        if Part.CLOCKS in parts:
            self.clocks = Clocks(cluster.folder / "clocks", tools.libfaketime())
        self.disk = Disk(cluster.folder / "qdrant") if Part.DISK in parts else None
        self._lock = threading.Lock()
        self._running = ExitStack()

    def __enter__(self) -> Apparatus:
        with ExitStack() as starting:
            if self._s3:
                starting.enter_context(mock.patch.dict(os.environ, s3.variables(self._s3)))
                port = str(self._port("s3"))
                self._start(starting, "s3", sys.executable, "-m", "bench.apparatus.s3", port)
                await_start(self.apply_s3_faults)()
            if self.network:
                options = ("-host", HOST, "-port", str(self._port("toxiproxy")))
                self._start(starting, "toxiproxy", str(self._toxiproxy), *options)
                await_start(self.network.open)()
            if self.clocks:
                starting.callback(remove_leftovers)
            if self.disk:
                self.disk.open()
                starting.callback(self.disk.close)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def apply_s3_faults(self) -> None:
        """Tells the S3 what happens from now on."""
        with self._lock:
            s3.set_faults(self._s3, [one for each in self.s3_faults.values() for one in each])

    def fit(self, spec: ProcessSpec) -> ProcessSpec:
        """A process of the cluster with its own network, clock and name at the S3."""
        if self._s3:
            own = s3.variables(self._s3, spec.name)
            spec = replace(spec, environment={**spec.environment, **own})
        if self.clocks:
            spec = self.clocks.fit(spec)
        return self.network.route(spec) if self.network else spec

    def on_disk(self, spec: ProcessSpec) -> ProcessSpec:
        """A process of the infrastructure; Qdrant with its own disk."""
        return self.disk.fit(spec) if self.disk and spec.name == "qdrant" else spec

    def _start(self, starting: ExitStack, name: str, *command: str) -> None:
        child = ChildProcess(
            ProcessSpec(name, command, {}, self._cluster.logs / f"{name}.log", folder=ROOT)
        )
        child.start()
        starting.callback(child.wait, STOP_SECONDS)
        starting.callback(child.terminate)

    def _port(self, name: str) -> int:
        return APPARATUS_PORTS[name] + self._cluster.port_offset

    def _address(self, name: str) -> str:
        return f"{HOST}:{self._port(name)}"

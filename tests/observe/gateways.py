"""One more gateway of a running cluster, with a store of its own choice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from realm.client import Client
from realm.errors import RealmError
from services.standalone.cluster import HOST, PORTS
from tests.acceptance.running import RunningCluster
from tests.ports import free_port
from tests.waiting import until

START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class AnotherGateway:
    """`client` asks it and nobody else."""

    client: Client
    metrics_port: int

    def generation(self) -> int:
        """What it answers with now; 0 if it does not answer."""
        return generation(self.client)


@contextmanager
def another_gateway(
    cluster: RunningCluster, store: Path, **settings: str
) -> Iterator[AnotherGateway]:
    """Started, and ended with the context."""
    listen, metrics = f"{HOST}:{free_port()}", free_port()

    def address(name: str) -> str:
        return f"{HOST}:{PORTS[name] + cluster.offset}"

    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"],
        env={
            **os.environ,
            "REALM_STORE_URL": str(store),
            "REALM_GATEWAY_LISTEN": listen,
            "REALM_METRICS_PORT": str(metrics),
            "REALM_INDEXER_URL": address("indexer"),
            "REALM_QDRANT_URL": f"http://{address('qdrant')}",
            "REALM_REDIS_URL": f"redis://{address('redis')}/0",
            "OMP_NUM_THREADS": "1",
            **settings,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client(listen, timeout=5) as client:
            made = AnotherGateway(client, metrics)
            until(lambda: made.generation() > 0, "another gateway's answer", START_SECONDS)
            yield made
    finally:
        process.terminate()
        process.wait(60)


def generation(client: Client) -> int:
    """Of the generation that a gateway answers with; 0 if it does not answer."""
    try:
        return int(client.search("anything", limit=1).index_version.generation)
    except RealmError:
        return 0

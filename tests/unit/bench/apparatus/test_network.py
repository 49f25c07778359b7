"""Where the processes of a cluster find their peers when each pair can be cut."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.apparatus.network import ROUTED, Link, Network
from services.standalone.cluster import Cluster


def test_each_process_reaches_its_peers_at_a_host_of_its_own(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 0, train=False, gateways=2, standby=True)
    network = Network(cluster, "127.0.0.1:8474", "127.0.0.1:9000")
    specs = {
        each.name: network.route(each)
        for each in (
            *cluster.infrastructure(),
            *cluster.front(),
            cluster.trainer(),
            *cluster.embedders(),
        )
    }
    urls = {name: spec.environment["REALM_REDIS_URL"] for name, spec in specs.items()}
    services = ["indexer", "indexer-2", "gateway", "gateway-2", "embedder", "embedder-delta"]
    assert len({urls[name] for name in services}) == len(services)
    assert specs["gateway"].environment["REALM_GATEWAY_LISTEN"] == cluster.address("gateway")
    assert specs["indexer"].environment["REALM_INDEXER_LISTEN"] == cluster.address("indexer")
    for name in ("redis", "qdrant", "trainer"):
        assert specs[name].environment["REALM_REDIS_URL"] == "redis://127.0.0.1:6379/0"


def test_every_pair_that_speaks_has_a_link(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 0, train=False, gateways=2, standby=True)
    links = set(Network(cluster, "127.0.0.1:8474", "127.0.0.1:9000").links)
    for gateway in ("gateway", "gateway-2"):
        for peer in ("redis", "qdrant", "store", "indexer", "indexer-2"):
            assert Link(gateway, peer) in links
    for indexer in ("indexer", "indexer-2"):
        assert {each.peer for each in links if each.process == indexer} == {
            "redis", "qdrant", "store",
        }  # fmt: skip
    for embedder in ("embedder", "embedder-delta"):
        assert {each.peer for each in links if each.process == embedder} == {"redis", "store"}


def test_a_routed_service_dials_the_host_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(
        "import asyncio, grpc\n"
        "async def main():\n"
        "    channel = grpc.aio.insecure_channel('127.0.0.1:1')\n"
        "    try:\n"
        "        await channel.unary_unary('/a/b')(b'', timeout=20)\n"
        "    except grpc.RpcError as error:\n"
        "        print(error.details())\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, ROUTED, "127.0.0.1", "127.0.1.9", "service"],
        env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "127.0.1.9:1" in done.stdout

"""The plan of the cluster: what cannot work is said at the start."""

import os
import socket
from pathlib import Path

import pytest

from realm.errors import BadSettings
from realm.settings import VARIABLES
from services.standalone.cluster import HOST, PORTS, Cluster

OFFSET = 7000


def test_every_variable_that_a_process_gets_is_a_setting(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, OFFSET, train=True)
    known = VARIABLES
    specs = [
        cluster.web(),
        *cluster.infrastructure(),
        *cluster.front(),
        cluster.trainer(),
        *cluster.embedders(),
    ]
    given = {name for spec in specs for name in spec.environment if name.startswith("REALM_")}
    assert given <= known


def test_every_gateway_has_ports_and_an_address_of_its_own(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, OFFSET, train=True, gateways=3)
    assert len(set(cluster.ports.values())) == len(cluster.ports)
    front = {spec.name: spec.environment for spec in cluster.front()}
    assert set(front) == {"indexer", "gateway", "gateway-2", "gateway-3"}
    listens = {front[name]["REALM_GATEWAY_LISTEN"] for name in cluster.gateway_names}
    assert listens == {cluster.address(name) for name in cluster.gateway_names}
    metrics = {environment["REALM_METRICS_PORT"] for environment in front.values()}
    assert len(metrics) == len(front)


def test_a_qdrant_that_is_given_is_used_and_none_is_started(tmp_path: Path) -> None:
    peers = "http://127.0.0.1:1,http://127.0.0.1:2"
    cluster = Cluster(tmp_path, OFFSET, train=True, qdrant=peers)
    assert [spec.name for spec in cluster.infrastructure()] == ["redis"]
    specs = [*cluster.front(), cluster.trainer(), *cluster.embedders()]
    assert {spec.environment["REALM_QDRANT_URL"] for spec in specs} == {peers}


def test_given_settings_reach_every_process(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, OFFSET, train=True, settings={"REALM_GATE_PROBES": "7"})
    specs = [
        cluster.web(),
        *cluster.infrastructure(),
        *cluster.front(),
        cluster.trainer(),
        *cluster.embedders(),
        cluster.follower([tmp_path]),
    ]
    assert {spec.environment["REALM_GATE_PROBES"] for spec in specs} == {"7"}


def test_a_port_in_use_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        offset = taken.getsockname()[1] - PORTS["gateway"]
        cluster = Cluster(tmp_path, offset, train=True)
        if min(PORTS.values()) + offset < 1024 or max(PORTS.values()) + offset > 65535:
            pytest.skip("the free port found would move others out of range")
        with pytest.raises(BadSettings, match=r"port \d+ \(gateway\) is in use.*PORT_OFFSET"):
            cluster._check_port("gateway")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(BadSettings, match="cannot be"):
        Cluster(tmp_path / "x", OFFSET, train=True).check()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(BadSettings, match="store"):
        Cluster(tmp_path / "store", OFFSET, train=True).check()


def test_a_standby_listens_and_is_told_of_by_its_own_address(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, OFFSET, train=False, standby=True)
    found = {spec.name: spec.environment for spec in cluster.front()}
    addresses = [found[name]["REALM_INDEXER_LISTEN"] for name in ("indexer", "indexer-2")]
    assert len(set(addresses)) == 2
    told = [found[name]["REALM_INDEXER_ADVERTISE"] for name in ("indexer", "indexer-2")]
    assert told == addresses
    assert len(set(cluster.ports.values())) == len(cluster.ports)
    alone = Cluster(tmp_path, OFFSET, train=False)
    assert [spec.name for spec in alone.front()] == ["indexer", "gateway"]

"""A network between the processes of a cluster: each reaches its peers at a host of its own, where
a proxy listens on the peer's usual port. So any two can be cut off from each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bench.apparatus.toxiproxy import Direction, Toxiproxy
from services.standalone.cluster import HOST, Cluster, ProcessSpec

ROUTED = Path(__file__).with_name("routed.py")
EMBEDDERS = ("embedder", "embedder-delta")
REDIS, QDRANT, STORE = "redis", "qdrant", "store"
#: What a slow network is: seconds of delay each way, and kilobytes a second.
SLOW_LATENCY = 0.3
SLOW_KILOBYTES = 200.0


class Cut(StrEnum):
    """How a link fails. What is held arrives when the link is healed, as TCP sends it again."""

    REFUSED = "refused"
    HELD = "held"
    REQUESTS_HELD = "requests held"
    ANSWERS_HELD = "answers held"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Link:
    """From a process to one that it calls."""

    process: str
    peer: str

    def __str__(self) -> str:
        return f"{self.process}->{self.peer}"


class Network:
    """The links of a cluster, whole to begin with; toxiproxy runs when `open` is called."""

    def __init__(self, cluster: Cluster, toxiproxy: str, store: str = "") -> None:
        """:param toxiproxy: address of its API.
        :param store: address of an S3; empty if the store is a folder.
        """
        self._peers = {name: cluster.address(name) for name in (REDIS, QDRANT)}
        if store:
            self._peers[STORE] = store
        self._peers |= {name: cluster.address(name) for name in cluster.indexer_names}
        names = [*cluster.indexer_names, *cluster.gateway_names, *EMBEDDERS]
        self._hosts = {name: f"127.0.1.{number}" for number, name in enumerate(names, start=1)}
        self._proxies = Toxiproxy(toxiproxy)
        self.links = list(_links(cluster, list(self._peers)))

    @property
    def processes(self) -> list[str]:
        """Those that have links to others."""
        return list(self._hosts)

    def open(self) -> None:
        """:raises DependencyUnavailable: if toxiproxy does not answer."""
        for link in self.links:
            address = self._peers[link.peer]
            self._proxies.add(str(link), address.replace(HOST, self._hosts[link.process]), address)

    def cut(self, link: Link, how: Cut) -> None:
        cut_link(self._proxies, str(link), how)

    def heal(self, link: Link) -> None:
        self._proxies.heal(str(link))

    def route(self, spec: ProcessSpec) -> ProcessSpec:
        """The same process with its peers at its own host; others are left alone."""
        if (host := self._hosts.get(spec.name)) is None:
            return spec
        links = [link.peer for link in self.links if link.process == spec.name]
        addresses = [self._peers[peer] for peer in links]
        environment = {
            name: _moved(value, addresses, host) if name.endswith("_URL") else value
            for name, value in spec.environment.items()
        }
        command = spec.command
        if spec.name.startswith("gateway"):
            # The leader's address comes from the store, the same for all.
            python, *options, module = command
            command = (python, *options[:-1], str(ROUTED), HOST, host, module)
        return replace(spec, command=command, environment=environment)


def _links(cluster: Cluster, peers: Sequence[str]) -> Iterable[Link]:
    for name in cluster.indexer_names:
        yield from (Link(name, peer) for peer in peers if peer not in cluster.indexer_names)
    for name in cluster.gateway_names:
        yield from (Link(name, peer) for peer in peers)
    for name in EMBEDDERS:
        yield from (Link(name, peer) for peer in peers if peer in (REDIS, STORE))


def cut_link(proxies: Toxiproxy, name: str, how: Cut) -> None:
    match how:
        case Cut.REFUSED:
            proxies.refuse(name)
        case Cut.SLOW:
            proxies.slow(name, SLOW_LATENCY, SLOW_KILOBYTES)
        case _:
            for direction in _held(how):
                proxies.hold(name, direction)


def _held(how: Cut) -> list[Direction]:
    match how:
        case Cut.REQUESTS_HELD:
            return [Direction.UPSTREAM]
        case Cut.ANSWERS_HELD:
            return [Direction.DOWNSTREAM]
        case _:
            return list(Direction)


def _moved(url: str, addresses: Iterable[str], host: str) -> str:
    for address in addresses:
        url = url.replace(address, address.replace(HOST, host))
    return url

"""The cluster's network: a bridge in a namespace of its own, and one namespace for each host."""

from __future__ import annotations

from tools.cluster.layout import LAN, PLANE_ADDRESS, PODS, namespace_of
from tools.cluster.processes import inside, run


def make(nodes: range) -> None:
    """The machine's own network stays as it is."""
    bridge = namespace_of("lan")
    run("ip", "netns", "add", bridge)
    run("ip", "-n", bridge, "link", "set", "lo", "up")
    run("ip", "-n", bridge, "link", "add", "lan", "type", "bridge")
    run("ip", "-n", bridge, "link", "set", "lan", "up")
    _add_host("plane", PLANE_ADDRESS)
    for node in nodes:
        _add_host(f"node{node}", f"{LAN}.{node}")
        _route("plane", f"{PODS}.{node}.0/24", f"{LAN}.{node}")
    for node in nodes:
        for other in nodes:
            if other != node:
                _route(f"node{node}", f"{PODS}.{other}.0/24", f"{LAN}.{other}")
        # What lies outside gets no answer, as behind a firewall; not `unreachable` at once.
        _route(f"node{node}", "default", PLANE_ADDRESS)
        forwards = ("net.ipv4.ip_forward=1", "net.bridge.bridge-nf-call-iptables=1")
        run(*inside(f"node{node}"), "sysctl", "-qw", *forwards)


def _add_host(host: str, address: str) -> None:
    """A namespace with the interface `lan`, whose other end is at the bridge."""
    name, bridge = namespace_of(host), namespace_of("lan")
    run("ip", "netns", "add", name)
    run("ip", "link", "add", "lan", "netns", name, "type", "veth", "peer", host, "netns", bridge)
    run("ip", "-n", bridge, "link", "set", host, "master", "lan", "up")
    run("ip", "-n", name, "link", "set", "lo", "up")
    run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "lan")
    run("ip", "-n", name, "link", "set", "lan", "up")


def _route(host: str, target: str, by: str) -> None:
    run("ip", "-n", namespace_of(host), "route", "add", target, "via", by)

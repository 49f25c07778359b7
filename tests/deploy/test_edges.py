"""The network policies allow what the code does, in both directions, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.rendering import (
    OVERLAYS,
    PROCESSES,
    ROOT,
    WATCHED,
    Object,
    main_container,
    name_of,
    of_kind,
    pod_labels,
    render,
    selects,
    workloads,
)

Edge = tuple[str, str, int]
DEPLOYMENTS = ("gateway", "embedder", "embedder-delta", "web")
#: A word in a service's code that shows that it talks to somebody, and where that one listens.
SIGNS = {
    "redis_url": ("redis", 6379),
    "open_index": ("qdrant", 6334),
    "open_search": ("qdrant", 6334),
    "settings.addresses.indexer_url": ("indexer", 50052),
}


def edges_of_the_code() -> set[Edge]:
    """Who calls whom, as the services' own sources say."""
    found = set()
    for process, service in PROCESSES.items():
        code = "".join(path.read_text() for path in (ROOT / "services" / service).rglob("*.py"))
        # The Celery application takes its address from the settings by itself.
        code = code.replace("make_celery(settings", "redis_url")
        found |= {(process, *place) for sign, place in SIGNS.items() if sign in code}
    return found


def edges_of_the_rest(objects: list[Object]) -> set[Edge]:
    """What is no process with a store: Qdrant's peers, Prometheus, Grafana, the web service."""
    found = {("web", "gateway", 50051)}
    found |= {("qdrant", "qdrant", port) for port in (6333, 6335)}
    found |= {
        ("toolbox", *place) for place in (("redis", 6379), ("qdrant", 6334), ("gateway", 50051))
    }
    if any(name_of(each) == "prometheus" for each in workloads(objects)):
        found |= {("prometheus", process, 9100) for process in WATCHED}
        found |= {("prometheus", "qdrant", 6333), ("grafana", "prometheus", 9090)}
        found |= {("prometheus", "alertmanager", 9093)}
    return found


def allowed(objects: list[Object], direction: str) -> Iterator[Edge]:
    """Edges between pods of realm that policies of one direction allow."""
    key, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    for policy in of_kind(objects, "NetworkPolicy"):
        assert (direction in policy["spec"]["policyTypes"]) or key not in policy["spec"]
        for rule in policy["spec"].get(key, []):
            for near, far, port in _pairs(objects, policy, rule, ends):
                yield (far, near, port) if direction == "Ingress" else (near, far, port)


def _pairs(
    objects: list[Object], policy: Object, rule: Object, ends: str
) -> Iterator[tuple[str, str, int]]:
    near = [
        name_of(each)
        for each in workloads(objects)
        if selects(policy["spec"]["podSelector"], pod_labels(each))
    ]
    for peer in rule.get(ends, []):
        if "podSelector" not in peer or "namespaceSelector" in peer:
            continue
        for far in workloads(objects):
            if selects(peer["podSelector"], pod_labels(far)):
                for port in rule["ports"]:
                    yield from ((each, name_of(far), port["port"]) for each in near)


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("direction", ["Ingress", "Egress"])
def test_edges_are_those_that_exist(overlay: str, direction: str) -> None:
    objects = render(overlay)
    assert set(allowed(objects, direction)) == edges_of_the_code() | edges_of_the_rest(objects)


def test_the_code_has_the_edges_that_the_design_draws() -> None:
    assert ("gateway", "indexer", 50052) in edges_of_the_code()
    assert ("embedder", "qdrant", 6334) not in edges_of_the_code()
    assert ("trainer", "indexer", 50052) not in edges_of_the_code()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_edges_end_at_ports_that_are_open(overlay: str) -> None:
    objects = render(overlay)
    for _, far, port in allowed(objects, "Egress"):
        workload = next(each for each in workloads(objects) if name_of(each) == far)
        assert port in [each["containerPort"] for each in main_container(workload)["ports"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_from_outside_reaches_more_than_gateways_and_metrics(overlay: str) -> None:
    objects = render(overlay)
    doors = {
        (policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], port["port"])
        for policy in of_kind(objects, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        if any("namespaceSelector" in peer for peer in rule.get("from", [{"namespaceSelector": 1}]))
        for port in rule["ports"]
    }
    metrics = {(process, 9100) for process in WATCHED} | {("qdrant", 6333)}
    open_to_clients = {("gateway", 50051), ("web", 8051)}
    assert doors == open_to_clients | (metrics if overlay == "cluster-operators" else set())

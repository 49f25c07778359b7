"""Overlays as an API server takes them, which may be older than realm asks for."""

from __future__ import annotations

import yaml

from tests.deploy.api_server import ApiServer
from tests.deploy.rendering import K8S, Object, containers, of_kind, render, workloads
from tools.preflight import LEAST_VERSION


def suited(server: ApiServer, objects: list[Object]) -> list[Object]:
    return objects if server.version >= LEAST_VERSION else for_older(objects)


def for_older(objects: list[Object]) -> list[Object]:
    """As the oldest server takes them: no probe by gRPC, no pause by the kubelet's own sleep."""
    for each in of_kind(objects, "PodDisruptionBudget"):
        each["apiVersion"] = "policy/v1beta1"
        each["spec"].pop("unhealthyPodEvictionPolicy", None)
    for each in workloads(objects, jobs=True):
        for container in containers(each):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if grpc := container.get(probe, {}).pop("grpc", None):
                    container[probe]["tcpSocket"] = {"port": grpc["port"]}
            hook = container.get("lifecycle", {}).get("preStop", {})
            if pause := hook.pop("sleep", None):
                hook["exec"] = {"command": ["sleep", str(pause["seconds"])]}
    return objects


def manifests(server: ApiServer, overlay: str) -> str:
    """kubectl's option that names the overlay, as a user would where the server is new enough."""
    if server.version >= LEAST_VERSION:
        return f"--kustomize={K8S / 'overlays' / overlay}"
    return written(server, suited(server, render(overlay)))


def written(server: ApiServer, objects: list[Object]) -> str:
    file = server.folder / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return f"--filename={file}"

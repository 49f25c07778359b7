"""Overlays rendered with kubectl, and small questions about what came out."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("local", "cluster", "cluster-operators")
#: Recipes upon `cluster`, for one place each.
RECIPES = ("eks", "gke", "bare-metal")
#: realm's own processes and the service that each of them is.
PROCESSES = {
    "trainer": "trainer",
    "embedder": "embedder",
    "embedder-delta": "embedder",
    "indexer": "indexer",
    "gateway": "gateway",
}
#: What has metrics: they, and the web service, which knows a gateway alone.
WATCHED = {*PROCESSES, "web"}
NAME_LABEL = "app.kubernetes.io/name"

Object = dict[str, Any]


def render(overlay: str) -> list[Object]:
    """The overlay's objects; a fresh copy, for the caller to spoil."""
    return copy.deepcopy(_rendered(str(K8S / "overlays" / overlay)))


def render_folder(folder: Path) -> list[Object]:
    return copy.deepcopy(_rendered(str(folder)))


@cache
def _rendered(folder: str) -> list[Object]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed, so no overlay can be rendered")
    done = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    # Ten times as fast as the one in Python.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [each for each in yaml.load_all(done.stdout, loader) if each]


def compose() -> Object:
    found: Object = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    return found


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def name_of(thing: Object) -> str:
    return str(thing["metadata"]["name"])


def find(objects: list[Object], kind: str, name: str) -> Object:
    return next(each for each in of_kind(objects, kind) if name_of(each) == name)


def workloads(objects: list[Object], *, jobs: bool = False) -> list[Object]:
    kinds = ("Deployment", "StatefulSet", *(("Job",) if jobs else ()))
    return of_kind(objects, *kinds)


def pod(workload: Object) -> Object:
    """The pod's spec."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def pod_labels(workload: Object) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def containers(workload: Object, *, init: bool = True) -> list[Object]:
    spec = pod(workload)
    return [*(spec.get("initContainers", []) if init else []), *spec["containers"]]


def main_container(workload: Object) -> Object:
    first: Object = pod(workload)["containers"][0]
    return first


def target(container: Object, port: str | int) -> int:
    """The number of a container's port."""
    if isinstance(port, int):
        return port
    return int(next(p["containerPort"] for p in container["ports"] if p["name"] == port))


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector, with expressions of operator In, selects those labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


def environment(objects: list[Object], container: Object) -> dict[str, str]:
    """What the container's process sees; secrets stand as `<key>`, the pod's own as `<path>`."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= find(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    for entry in container.get("env", []):
        if "value" in entry:
            found[entry["name"]] = _expanded(entry["value"], found)
        elif "fieldRef" in entry["valueFrom"]:
            found[entry["name"]] = f"<{entry['valueFrom']['fieldRef']['fieldPath']}>"
        else:
            found[entry["name"]] = f"<{entry['valueFrom']['secretKeyRef']['key']}>"
    return found


def _expanded(value: str, known: dict[str, str]) -> str:
    """As the kubelet does it: a variable that is defined later, or never, stays as it is."""
    return re.sub(r"\$\((\w+)\)", lambda hit: known.get(hit[1], hit[0]), value)


def secret_keys(workload: Object) -> Iterator[tuple[str, str]]:
    """(Secret, key) of everything that the pod takes from Secrets key by key."""
    for container in containers(workload):
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                yield reference["name"], reference["key"]
    for volume in pod(workload).get("volumes", []):
        sources = [volume, *volume.get("projected", {}).get("sources", [])]
        for secret in (each["secret"] for each in sources if "secret" in each):
            for item in secret.get("items", []):
                yield secret.get("name") or secret["secretName"], item["key"]

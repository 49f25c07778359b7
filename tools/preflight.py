"""Asks a cluster for what realm's overlay needs, and says what is missing.

`python -m tools.preflight --overlay cluster`. Changes nothing. Exit code 1 if something that
realm cannot do without is missing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

OVERLAYS = Path(__file__).parents[1] / "deploy" / "k8s" / "overlays"
#: Since then a container's preStop may be a sleep, for which no shell is needed.
LEAST_VERSION = (1, 30)
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
GPU = "nvidia.com/gpu"
RESOURCES = ("cpu", "memory")
UNITS = {
    "": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
#: Provisioners whose volumes many nodes can mount at once.
SHARED_PROVISIONERS = ("nfs", "cephfs", "efs", "filestore", "azurefile", "file.csi", "longhorn")
#: Whose kinds only the overlay `cluster-operators` holds, or components that are added.
OPERATORS = ("keda.sh/", "monitoring.coreos.com/", "cert-manager.io/")
#: What the overlays name until `make images` writes a registry.
PLACEHOLDER = "registry.example/"

Verdict = Literal["ok", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One prerequisite: is it there, and in a sentence what was found and what to do."""

    name: str
    verdict: Verdict
    words: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cluster says of itself; `claim` is realm's store claim, if there is one yet."""

    version: tuple[int, int]
    #: (apiVersion, kind) of everything that it serves.
    kinds: frozenset[tuple[str, str]]
    storage_classes: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    claim: dict[str, Any] | None = None
    #: Whether there is a Secret that says where alerts go.
    alerts_go_somewhere: bool = False


#: What was found of one prerequisite, and what to do.
Answer = tuple[Verdict, str]
Objects = list[dict[str, Any]]


def check_version(_: Objects, facts: Facts) -> Answer:
    found, least = (".".join(map(str, each)) for each in (facts.version, LEAST_VERSION))
    if facts.version >= LEAST_VERSION:
        return "ok", found
    return "missing", f"is {found}, realm needs {least} or newer: upgrade it"


def check_kinds(objects: Objects, facts: Facts) -> Answer:
    absent = {(each["apiVersion"], each["kind"]) for each in objects} - facts.kinds
    if not absent:
        return "ok", "the cluster knows every kind of the overlay"
    operators = {each for each in absent if each[0].startswith(OPERATORS)}
    words = ", ".join(sorted(f"{kind} ({version})" for version, kind in operators or absent))
    cure = "upgrade it"
    if operators:
        cure = (
            "install KEDA, the Prometheus operator or cert-manager, or apply the overlay"
            " `cluster` without `components/certificates`, which needs none of them"
        )
    return "missing", f"the cluster knows no {words}: {cure}"


def check_default_class(objects: Objects, facts: Facts) -> Answer:
    if name := _default_class(facts):
        return "ok", name
    unnamed = [name for name, spec in _claims(objects) if not spec.get("storageClassName")]
    if not unnamed:
        return "ok", "none, and no claim asks for it"
    claims = ", ".join(unnamed)
    return "missing", f"none, and {claims} ask for it: annotate a class with {DEFAULT_CLASS}=true"


def check_classes(objects: Objects, facts: Facts) -> Answer:
    there = {each["metadata"]["name"] for each in facts.storage_classes}
    named = {name: spec["storageClassName"] for name, spec in _claims(objects)
             if spec.get("storageClassName")}  # fmt: skip
    absent = {claim: wanted for claim, wanted in named.items() if wanted not in there}
    if not absent:
        return "ok", ", ".join(sorted(set(named.values()))) or "none is asked for by name"
    words = ", ".join(f"{wanted} ({claim})" for claim, wanted in sorted(absent.items()))
    return "missing", f"there is no {words}: make it, or name another one in your overlay"


def check_store(objects: Objects, facts: Facts) -> Answer:
    spec = dict(_claims(objects)).get("store")
    if spec is None:
        return "unknown", "a bucket: only the pods' first check can tell"
    if "ReadWriteMany" not in spec["accessModes"]:
        return "ok", "on one node, any volume will do"
    if facts.claim is not None and facts.claim.get("status", {}).get("phase") == "Bound":
        return "ok", "its claim is bound"
    wanted = spec.get("storageClassName") or _default_class(facts)
    classes = {each["metadata"]["name"]: each["provisioner"] for each in facts.storage_classes}
    if wanted not in classes:
        return "missing", f"there is no StorageClass {wanted!r} for its claim"
    found = f"class {wanted} ({classes[wanted]})"
    if any(word in classes[wanted] for word in SHARED_PROVISIONERS):
        return "ok", found
    return "unknown", (
        f"{found} is not known to give ReadWriteMany volumes:"
        " name one that does in the overlay, or put the store in a bucket (components/s3-store)"
    )


def check_gpus(objects: Objects, facts: Facts) -> Answer:
    needed = sum(
        workload["spec"].get("replicas", 1) * int(container["resources"]["limits"].get(GPU, 0))
        for workload, container in _containers(objects)
    )
    given = (node["status"].get("allocatable", {}).get(GPU, 0) for node in facts.nodes)
    words = f"{(found := sum(map(int, given)))} on the nodes, {needed} needed"
    if found >= needed:
        return "ok", words
    return "missing", (
        f"{words}: is the NVIDIA device plugin installed? Or apply"
        " the overlay without components/gpu"
    )


def check_size(objects: Objects, facts: Facts) -> Answer:
    """All pods together, and the largest of them alone."""
    needed, largest = dict.fromkeys(RESOURCES, 0.0), dict.fromkeys(RESOURCES, 0.0)
    for workload in objects:
        if workload["kind"] in ("Deployment", "StatefulSet"):
            one = _requests(workload)
            for name in RESOURCES:
                needed[name] += workload["spec"].get("replicas", 1) * one[name]
                largest[name] = max(largest[name], one[name])
    nodes = [
        {name: quantity(node["status"].get("allocatable", {}).get(name, "0")) for name in RESOURCES}
        for node in facts.nodes
    ]
    given = {name: sum(node[name] for node in nodes) for name in RESOURCES}
    words = f"{_amounts(needed)} in all, {_amounts(largest)} on one node; the nodes have"
    words = f"{words} {_amounts(given)}"
    if any(given[name] < needed[name] for name in RESOURCES):
        return "missing", f"{words}: add nodes, or ask for less in your overlay"
    if not any(all(node[name] >= largest[name] for name in RESOURCES) for node in nodes):
        return (
            "missing",
            f"{words}, and none takes the largest pod: add a larger one, or ask for less",
        )
    return "ok", words


def _requests(workload: dict[str, Any]) -> dict[str, float]:
    containers = workload["spec"]["template"]["spec"]["containers"]
    asked = [each["resources"]["requests"] for each in containers]
    return {name: sum(quantity(each.get(name, "0")) for each in asked) for name in RESOURCES}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: "250m", "16Gi", "2"."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    if found is None or found[2] not in UNITS:
        raise ValueError(f"{text!r} is no quantity")
    return float(found[1]) * UNITS[found[2]]


def _amounts(of: dict[str, float]) -> str:
    return f"{of['cpu']:.1f} CPUs and {of['memory'] / 2**30:.0f} GiB of memory"


def check_alerts(objects: Objects, facts: Facts) -> Answer:
    if not any(each["metadata"]["name"] == "alertmanager" for each in objects):
        return "unknown", "the cluster's own Alertmanager tells somebody, or nobody"
    if facts.alerts_go_somewhere:
        return "ok", "the Secret realm-alerts says where they go"
    return "unknown", (
        "nobody is told of any: make the Secret realm-alerts, as"
        " components/monitoring-bundled/alertmanager.conf.yaml says"
    )


def check_images(objects: Objects, _: Facts) -> Answer:
    images = {container["image"] for _, container in _containers(objects)}
    unnamed = sorted(image for image in images if image.startswith(PLACEHOLDER))
    if not unnamed:
        return "unknown", "only the nodes can tell whether they may pull them"
    return "missing", (
        f"{', '.join(unnamed)} lie in no registry: `make images REGISTRY=… TAG=…` builds,"
        " pushes and names them"
    )


def check_network(_: Objects, __: Facts) -> Answer:
    return "unknown", (
        "no API tells whether the network plugin enforces them; Calico, Cilium, Antrea and"
        " kube-router do"
    )


CHECKS: dict[str, Callable[[Objects, Facts], Answer]] = {
    "Kubernetes": check_version,
    "API kinds": check_kinds,
    "default StorageClass": check_default_class,
    "named StorageClasses": check_classes,
    "store": check_store,
    "size": check_size,
    "GPUs": check_gpus,
    "images": check_images,
    "network policies": check_network,
    "alerts": check_alerts,
}


def preflight(objects: Objects, facts: Facts) -> list[Finding]:
    return [Finding(name, *check(objects, facts)) for name, check in CHECKS.items()]


def _containers(objects: Objects) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [
        (workload, container)
        for workload in objects
        if workload["kind"] in ("Deployment", "StatefulSet", "Job")
        for container in workload["spec"]["template"]["spec"]["containers"]
    ]


def _claims(objects: Objects) -> list[tuple[str, dict[str, Any]]]:
    own = [
        (each["metadata"]["name"], each["spec"])
        for each in objects
        if each["kind"] == "PersistentVolumeClaim"
    ]
    made = [
        (f"{each['metadata']['name']}/{claim['metadata']['name']}", claim["spec"])
        for each in objects
        for claim in each.get("spec", {}).get("volumeClaimTemplates", [])
    ]
    return own + made


def _default_class(facts: Facts) -> str | None:
    for each in facts.storage_classes:
        if each["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true":
            return str(each["metadata"]["name"])
    return None


def _kubectl(*arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def gather(namespace: str) -> Facts:
    """:param namespace: of the overlay.
    :raises RuntimeError: with kubectl's words, if no cluster answers.
    """
    said = json.loads(_kubectl("version", "--output=json", "--request-timeout=10s"))
    version = re.match(r"v(\d+)\.(\d+)", said["serverVersion"]["gitVersion"])
    if version is None:
        raise RuntimeError(f"the server's version cannot be read: {said['serverVersion']}")

    def one(kind: str, name: str) -> str:
        place = (f"--namespace={namespace}", "--output=json", "--ignore-not-found")
        return _kubectl("get", kind, name, *place)

    claim = one("pvc", "store")
    return Facts(
        version=(int(version[1]), int(version[2])),
        kinds=_kinds(),
        storage_classes=json.loads(_kubectl("get", "storageclass", "--output=json"))["items"],
        nodes=json.loads(_kubectl("get", "nodes", "--output=json"))["items"],
        claim=json.loads(claim) if claim.strip() else None,
        alerts_go_somewhere=bool(one("secret", "realm-alerts").strip()),
    )


def _kinds() -> frozenset[tuple[str, str]]:
    # It fails where one of the cluster's further API servers is down, and tells of the others.
    done = subprocess.run(
        ["kubectl", "api-resources", "--no-headers"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if not done.stdout:
        raise RuntimeError(f"kubectl api-resources: {done.stderr.strip()}")
    lines = (line.split() for line in done.stdout.splitlines())
    return frozenset((line[-3], line[-1]) for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overlay", default="cluster", help="a name, or the folder of your own")
    given = parser.parse_args().overlay
    folder = OVERLAYS / given if (OVERLAYS / given).is_dir() else Path(given)
    try:
        rendered = _kubectl("kustomize", str(folder))
        objects = [each for each in yaml.safe_load_all(rendered) if each]
        namespaces = {each["metadata"].get("namespace", "") for each in objects} - {""}
        findings = preflight(objects, gather(namespaces.pop()))
    except FileNotFoundError:
        sys.stderr.write("preflight: kubectl is not installed\n")
        return 1
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"preflight: {error}\n")
        return 1
    for finding in findings:
        sys.stdout.write(f"{finding.verdict:<8} {finding.name}: {finding.words}\n")
    return int(any(finding.verdict == "missing" for finding in findings))


if __name__ == "__main__":
    sys.exit(main())

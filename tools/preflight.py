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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

OVERLAYS = Path(__file__).parents[1] / "deploy" / "k8s" / "overlays"
#: Since then a container's preStop may be a sleep, for which no shell is needed.
LEAST_VERSION = (1, 30)
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
#: Provisioners whose volumes many nodes can mount at once.
SHARED_PROVISIONERS = ("nfs", "cephfs", "efs", "filestore", "azurefile", "file.csi", "longhorn")
#: Whose kinds only the overlay `cluster-operators` holds.
OPERATORS = ("keda.sh/", "monitoring.coreos.com/")
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


def check_version(_: list[dict[str, Any]], facts: Facts) -> Finding:
    found, least = (".".join(map(str, each)) for each in (facts.version, LEAST_VERSION))
    if facts.version >= LEAST_VERSION:
        return Finding("Kubernetes", "ok", found)
    return Finding("Kubernetes", "missing", f"is {found}, realm needs {least} or newer: upgrade it")


def check_kinds(objects: list[dict[str, Any]], facts: Facts) -> Finding:
    name = "API kinds"
    absent = {(each["apiVersion"], each["kind"]) for each in objects} - facts.kinds
    if not absent:
        return Finding(name, "ok", "the cluster knows every kind of the overlay")
    operators = {each for each in absent if each[0].startswith(OPERATORS)}
    words = ", ".join(sorted(f"{kind} ({version})" for version, kind in operators or absent))
    if not operators:
        return Finding(name, "missing", f"the cluster knows no {words}: upgrade it")
    return Finding(
        name,
        "missing",
        f"the cluster knows no {words}: install KEDA or the Prometheus operator,"
        " or apply the overlay `cluster`, which needs neither",
    )


def check_default_class(objects: list[dict[str, Any]], facts: Facts) -> Finding:
    default = _default_class(facts)
    if default is not None:
        return Finding("default StorageClass", "ok", default["metadata"]["name"])
    unnamed = [name for name, spec in _claims(objects) if not spec.get("storageClassName")]
    if not unnamed:
        return Finding("default StorageClass", "ok", "none, and no claim asks for it")
    return Finding(
        "default StorageClass",
        "missing",
        f"none, and {', '.join(unnamed)} ask for it: annotate a class with {DEFAULT_CLASS}=true",
    )


def check_store(objects: list[dict[str, Any]], facts: Facts) -> Finding:
    name = "store"
    spec = dict(_claims(objects)).get("store")
    if spec is None:
        return Finding(name, "unknown", "a bucket: only the pods' first check can tell")
    if "ReadWriteMany" not in spec["accessModes"]:
        return Finding(name, "ok", "on one node, any volume will do")
    if facts.claim is not None and facts.claim.get("status", {}).get("phase") == "Bound":
        return Finding(name, "ok", "its claim is bound")
    wanted = spec.get("storageClassName") or (_default_class(facts) or {"metadata": {}})[
        "metadata"
    ].get("name")
    found = [each for each in facts.storage_classes if each["metadata"]["name"] == wanted]
    if not found:
        return Finding(name, "missing", f"there is no StorageClass {wanted!r} for its claim")
    if any(word in found[0]["provisioner"] for word in SHARED_PROVISIONERS):
        return Finding(name, "ok", f"class {wanted} ({found[0]['provisioner']})")
    return Finding(
        name,
        "unknown",
        f"class {wanted} ({found[0]['provisioner']}) is not known to give ReadWriteMany volumes:"
        " name one that does in the overlay, or put the store in a bucket (components/s3-store)",
    )


def check_gpus(objects: list[dict[str, Any]], facts: Facts) -> Finding:
    needed = sum(
        workload["spec"].get("replicas", 1) * int(limit)
        for workload in objects
        if workload["kind"] in ("Deployment", "StatefulSet")
        for container in workload["spec"]["template"]["spec"]["containers"]
        if (limit := container["resources"]["limits"].get("nvidia.com/gpu"))
    )
    found = sum(
        int(node["status"].get("allocatable", {}).get("nvidia.com/gpu", 0)) for node in facts.nodes
    )
    if found >= needed:
        return Finding("GPUs", "ok", f"{found} on the nodes, {needed} needed")
    return Finding(
        "GPUs",
        "missing",
        f"{found} on the nodes, {needed} needed: is the NVIDIA device plugin installed? Or apply"
        " the overlay without components/gpu",
    )


def check_images(objects: list[dict[str, Any]], _: Facts) -> Finding:
    unnamed = {
        container["image"]
        for workload in objects
        if workload["kind"] in ("Deployment", "StatefulSet", "Job")
        for container in workload["spec"]["template"]["spec"]["containers"]
        if container["image"].startswith(PLACEHOLDER)
    }
    if not unnamed:
        return Finding("images", "unknown", "only the nodes can tell whether they may pull them")
    return Finding(
        "images",
        "missing",
        f"{', '.join(sorted(unnamed))} lie in no registry: `make images REGISTRY=… TAG=…` builds,"
        " pushes and names them",
    )


def check_network(_: list[dict[str, Any]], __: Facts) -> Finding:
    return Finding(
        "network policies",
        "unknown",
        "no API tells whether the network plugin enforces them; Calico, Cilium and Antrea do",
    )


CHECKS = (
    check_version,
    check_kinds,
    check_default_class,
    check_store,
    check_gpus,
    check_images,
    check_network,
)


def preflight(objects: list[dict[str, Any]], facts: Facts) -> list[Finding]:
    return [check(objects, facts) for check in CHECKS]


def _claims(objects: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
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


def _default_class(facts: Facts) -> dict[str, Any] | None:
    for each in facts.storage_classes:
        if each["metadata"].get("annotations", {}).get(DEFAULT_CLASS) == "true":
            return each
    return None


def _kubectl(*arguments: str) -> str:
    done = subprocess.run(
        ["kubectl", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def gather() -> Facts:
    """:raises RuntimeError: with kubectl's words, if no cluster answers."""
    said = json.loads(_kubectl("version", "--output=json", "--request-timeout=10s"))
    version = re.match(r"v(\d+)\.(\d+)", said["serverVersion"]["gitVersion"])
    if version is None:
        raise RuntimeError(f"the server's version cannot be read: {said['serverVersion']}")
    claim = _kubectl(
        "get", "pvc", "store", "--namespace=realm", "--output=json", "--ignore-not-found"
    )
    return Facts(
        version=(int(version[1]), int(version[2])),
        kinds=_kinds(),
        storage_classes=json.loads(_kubectl("get", "storageclass", "--output=json"))["items"],
        nodes=json.loads(_kubectl("get", "nodes", "--output=json"))["items"],
        claim=json.loads(claim) if claim.strip() else None,
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
    parser.add_argument("--overlay", default="cluster")
    folder = OVERLAYS / parser.parse_args().overlay
    try:
        rendered = _kubectl("kustomize", str(folder))
        findings = preflight([each for each in yaml.safe_load_all(rendered) if each], gather())
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

"""The preflight says what a cluster lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.deploy.rendering import Object, find, main_container, render
from tools.preflight import DEFAULT_CLASS, Facts, Finding, preflight

NFS: dict[str, Any] = {
    "metadata": {"name": "shared", "annotations": {DEFAULT_CLASS: "true"}},
    "provisioner": "nfs.csi.k8s.io",
}
DISK: dict[str, Any] = {
    "metadata": {"name": "disk", "annotations": {DEFAULT_CLASS: "true"}},
    "provisioner": "ebs.csi.aws.com",
}


def node(cpu: str, memory: str, gpus: str = "0") -> dict[str, Any]:
    return {"status": {"allocatable": {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpus}}}


def facts_for(overlay: str) -> Facts:
    """A cluster that has all that the overlay needs."""
    return Facts(
        version=(1, 32),
        kinds=frozenset((each["apiVersion"], each["kind"]) for each in render(overlay)),
        storage_classes=[NFS],
        nodes=[node("64", "256Gi", "4")],
    )


def pushed(objects: list[Object]) -> list[Object]:
    """As `make images` leaves them."""
    text = json.dumps(objects).replace("registry.example/", "ghcr.io/somebody/")
    return list(json.loads(text))


def test_images_that_nobody_has_made_are_named() -> None:
    objects = pushed(render("cluster"))
    main_container(find(objects, "Deployment", "gateway"))["image"] = "registry.example/gateway:1"
    finding = next(e for e in preflight(objects, facts_for("cluster")) if e.name == "images")
    assert finding.verdict == "missing"
    assert finding.words.startswith("registry.example/gateway:1 lie")


def found(overlay: str, facts: Facts, name: str) -> Finding:
    return next(each for each in preflight(render(overlay), facts) if each.name == name)


@pytest.mark.parametrize("overlay", ["local", "cluster", "cluster-operators"])
def test_nothing_is_missing_where_all_is_there(overlay: str) -> None:
    findings = preflight(pushed(render(overlay)), facts_for(overlay))
    assert [each for each in findings if each.verdict == "missing"] == []


def test_the_overlay_s_total_is_told_and_compared_with_the_nodes() -> None:
    enough = found("cluster", facts_for("cluster"), "size")
    assert enough.verdict == "ok"
    assert "64.0 CPUs and 256 GiB" in enough.words
    few = found("cluster", replace(facts_for("cluster"), nodes=[node("8", "32Gi", "4")]), "size")
    assert few.verdict == "missing"
    assert "add nodes" in few.words


def test_a_pod_that_fits_on_no_single_node_is_found() -> None:
    """As on common machines with one GPU: four processors, of which the node keeps some."""
    small = [node("3920m", "15450Mi", "1")] * 40
    finding = found("cluster", replace(facts_for("cluster"), nodes=small), "size")
    assert finding.verdict == "missing"
    assert "none takes the largest pod" in finding.words


def test_alerts_that_nobody_hears_are_told_of() -> None:
    facts = facts_for("cluster")
    assert "nobody is told" in found("cluster", facts, "alerts").words
    heard = replace(facts, alerts_go_somewhere=True)
    assert found("cluster", heard, "alerts").verdict == "ok"


CLASSES = {
    "eks": {"gp3": "ebs.csi.aws.com"},
    "gke": {"premium-rwo": "pd.csi.storage.gke.io", "standard-rwx": "filestore.csi.storage.gke.io"},
    "bare-metal": {"local-path": "rancher.io/local-path", "nfs": "nfs.csi.k8s.io"},
}


@pytest.mark.parametrize("recipe", CLASSES)
def test_a_recipe_asks_for_its_classes_and_for_no_default(recipe: str) -> None:
    objects = pushed(render(recipe))
    classes = [
        {"metadata": {"name": name}, "provisioner": provisioner}
        for name, provisioner in CLASSES[recipe].items()
    ]
    facts = replace(facts_for(recipe), storage_classes=classes)
    assert [each for each in preflight(objects, facts) if each.verdict == "missing"] == []
    nothing = preflight(objects, replace(facts, storage_classes=[]))
    finding = next(each for each in nothing if each.name == "named StorageClasses")
    assert finding.verdict == "missing"
    assert all(name in finding.words for name in CLASSES[recipe])


def test_an_old_cluster_is_refused() -> None:
    facts = replace(facts_for("cluster"), version=(1, 29))
    assert "1.30 or newer" in found("cluster", facts, "Kubernetes").words


def test_absent_operators_are_named() -> None:
    facts = replace(facts_for("cluster-operators"), kinds=facts_for("cluster").kinds)
    finding = found("cluster-operators", facts, "API kinds")
    assert finding.verdict == "missing"
    for kind in ("PodMonitor", "PrometheusRule", "ScaledObject"):
        assert kind in finding.words
    assert "install KEDA" in finding.words


def test_a_kind_of_another_version_is_absent() -> None:
    facts = facts_for("cluster")
    budget = ("policy/v1", "PodDisruptionBudget")
    older = facts.kinds - {budget} | {("policy/v1beta1", "PodDisruptionBudget")}
    finding = found("cluster", replace(facts, kinds=older), "API kinds")
    assert finding.verdict == "missing"
    assert finding.words == ("the cluster knows no PodDisruptionBudget (policy/v1): upgrade it")


def test_without_a_default_class_the_claims_are_named() -> None:
    facts = replace(facts_for("cluster"), storage_classes=[])
    finding = found("cluster", facts, "default StorageClass")
    assert finding.verdict == "missing"
    assert "qdrant/data" in finding.words


def test_gpus_of_trainer_and_embedders_are_counted() -> None:
    nodes: list[dict[str, Any]] = [
        {"status": {"allocatable": {"nvidia.com/gpu": "1"}}},
        {"status": {}},
    ]
    finding = found("cluster", replace(facts_for("cluster"), nodes=nodes), "GPUs")
    assert (finding.verdict, finding.words[:31]) == ("missing", "1 on the nodes, 3 needed: is th")
    assert found("local", replace(facts_for("local"), nodes=nodes), "GPUs").verdict == "ok"


def test_a_class_for_one_node_is_doubted_until_its_claim_is_bound() -> None:
    facts = replace(facts_for("cluster"), storage_classes=[DISK])
    assert found("cluster", facts, "store").verdict == "unknown"
    bound = replace(facts, claim={"status": {"phase": "Bound"}})
    assert found("cluster", bound, "store").verdict == "ok"
    assert found("local", facts, "store").verdict == "ok"


def test_a_class_that_is_not_there_is_missing() -> None:
    objects = render("cluster")
    find(objects, "PersistentVolumeClaim", "store")["spec"]["storageClassName"] = "fast"
    finding = next(e for e in preflight(objects, facts_for("cluster")) if e.name == "store")
    assert finding.verdict == "missing"
    assert "'fast'" in finding.words

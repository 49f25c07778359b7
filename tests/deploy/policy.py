"""The rules that every overlay keeps. `RULES` lists them all, those of security first."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.deploy import security_rules
from tests.deploy.rendering import (
    NAME_LABEL,
    PROCESSES,
    Object,
    containers,
    environment,
    main_container,
    name_of,
    of_kind,
    pod,
    pod_labels,
    selects,
    workloads,
)
from tests.deploy.rules import Rules

RULES = Rules(security_rules.RULES)
rule = RULES.add
#: Seconds that a process needs beyond its drain: last reports, threads, files.
MARGIN_SECONDS = 5
#: The API server's limit for all annotations of an object together.
ANNOTATION_BYTES = 256 * 1024


def scaled(objects: list[Object]) -> set[str]:
    return {
        each["spec"]["scaleTargetRef"]["name"]
        for each in of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler")
    }


def many(objects: list[Object]) -> list[Object]:
    """Workloads that run, or may be scaled to, more than one pod."""
    return [
        each
        for each in workloads(objects)
        if each["spec"].get("replicas", 1) > 1 or name_of(each) in scaled(objects)
    ]


@rule
def resources_are_bounded(objects: list[Object]) -> Iterator[str]:
    """Every container has requests and limits, every scratch volume and cache a size."""
    for each in workloads(objects, jobs=True):
        for container in containers(each):
            for kind in ("requests", "limits"):
                given = container.get("resources", {}).get(kind, {})
                for resource in {"cpu", "memory"} - set(given):
                    yield f"{name_of(each)}/{container['name']} has no {kind} of {resource}"
        for volume in pod(each).get("volumes", []):
            if "emptyDir" in volume and not (volume["emptyDir"] or {}).get("sizeLimit"):
                yield f"{name_of(each)}: volume {volume['name']} may fill its node"


@rule
def probes_are_there(objects: list[Object]) -> Iterator[str]:
    """Every long-running container has a startup, a readiness and a liveness probe."""
    for each in workloads(objects):
        for container in containers(each, init=False):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{name_of(each)}/{container['name']} has no {probe}"


@rule
def disruptions_are_budgeted(objects: list[Object]) -> Iterator[str]:
    """What runs more than once has a budget, and no budget forbids all evictions."""
    budgets = of_kind(objects, "PodDisruptionBudget")
    for each in many(objects):
        held = [b for b in budgets if selects(b["spec"]["selector"], pod_labels(each))]
        if len(held) != 1:
            yield f"{name_of(each)} has {len(held)} disruption budgets"
    for budget in budgets:
        if budget["spec"].get("maxUnavailable", 0) in (0, "0%"):
            yield f"the budget {name_of(budget)} may forbid every eviction: give maxUnavailable"
        # Qdrant's peers hold data: one that is not ready may be about to become so.
        careless = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if careless is (name_of(budget) == "qdrant"):
            yield f"the budget {name_of(budget)} treats pods that are not ready wrongly"


@rule
def replicas_are_spread(objects: list[Object]) -> Iterator[str]:
    """What runs more than once is spread over nodes."""
    for each in many(objects):
        spread = pod(each).get("topologySpreadConstraints", [])
        over = {
            constraint["topologyKey"]
            for constraint in spread
            if selects(constraint["labelSelector"], pod_labels(each))
        }
        if "kubernetes.io/hostname" not in over:
            yield f"{name_of(each)} may run all its pods on one node"


@rule
def ends_are_graceful(objects: list[Object]) -> Iterator[str]:
    """preStop and drain together end well before the pod is killed."""
    for each in workloads(objects):
        container, spec = main_container(each), pod(each)
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = float(environment(objects, container).get("REALM_DRAIN_SECONDS", 10))
        needed = pause + drain + MARGIN_SECONDS
        if spec.get("terminationGracePeriodSeconds", 30) < needed:
            yield f"{name_of(each)} is killed before the {needed:g} s that its end may take"


@rule
def cures_are_taken(objects: list[Object]) -> Iterator[str]:
    """A pod that cannot start is replaced by the next apply, not waited for."""
    for each in of_kind(objects, "StatefulSet"):
        if each["spec"].get("podManagementPolicy") != "Parallel":
            yield f"{name_of(each)} keeps a pod that never gets ready: podManagementPolicy Parallel"


@rule
def gateways_leave_quietly(objects: list[Object]) -> Iterator[str]:
    """A gateway stays until nobody sends to it, and is replaced before it leaves."""
    for each in workloads(objects):
        if name_of(each) != "gateway":
            continue
        if main_container(each).get("lifecycle", {}).get("preStop", {}).get("sleep") is None:
            yield "the gateway stops while proxies still send to it: give a preStop sleep"
        if each["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield "a rolling restart takes gateways away before their successors are ready"


@rule
def priorities_are_given(objects: list[Object]) -> Iterator[str]:
    """Every pod has a priority class, and what answers stands above what learns."""
    classes = {name_of(each): each["value"] for each in of_kind(objects, "PriorityClass")}
    values = {}
    for each in workloads(objects, jobs=True):
        given = pod(each).get("priorityClassName")
        if given not in classes:
            yield f"{name_of(each)} has priority class {given}, which is none of these"
        values[name_of(each)] = classes.get(given, 0)
    if values["gateway"] <= values["trainer"]:
        yield "the trainer may push gateways from their nodes"


@rule
def single_ones_are_single(objects: list[Object]) -> Iterator[str]:
    """The trainer never runs twice at once: a StatefulSet of one."""
    for each in workloads(objects):
        if name_of(each) == "trainer" and (
            each["kind"] != "StatefulSet"
            or each["spec"].get("replicas", 1) != 1
            or name_of(each) in scaled(objects)
        ):
            yield f"two of {name_of(each)} may run at once"


@rule
def a_standby_holds_nothing_up(objects: list[Object]) -> Iterator[str]:
    """Indexers say where they are, and are ready while they could lead: few, and not scaled."""
    for each in workloads(objects):
        if name_of(each) != "indexer":
            continue
        container = main_container(each)
        if container["readinessProbe"]["grpc"].get("service") != "able":
            yield "an indexer that stands by is not ready: a rollout would wait for it"
        if container["livenessProbe"]["grpc"].get("service") != "live":
            yield "an indexer that stands by would be killed for it"
        told = {given["name"] for given in container["env"]}
        if each["spec"].get("replicas", 1) > 1 and "REALM_INDEXER_ADVERTISE" not in told:
            yield "gateways cannot tell the indexer that leads from the other"
        if each["spec"].get("podManagementPolicy") != "Parallel":
            yield "one indexer waits for the other to be ready"


@rule
def scaled_ones_have_no_number(objects: list[Object]) -> Iterator[str]:
    """What an autoscaler scales gives no number itself, or each apply would put it back."""
    for each in workloads(objects):
        if name_of(each) in scaled(objects) and "replicas" in each["spec"]:
            yield f"{name_of(each)} gives replicas and is scaled"


@rule
def gpus_are_asked_for(objects: list[Object]) -> Iterator[str]:
    """REALM_DEVICE=cuda, a GPU among the limits, its toleration and a CUDA image go together."""
    for each in workloads(objects):
        if name_of(each) not in PROCESSES:
            continue
        container = main_container(each)
        signs = {
            "device": environment(objects, container).get("REALM_DEVICE") == "cuda",
            "limit": "nvidia.com/gpu" in container["resources"]["limits"],
            "toleration": any(
                t["key"] == "nvidia.com/gpu" for t in pod(each).get("tolerations", [])
            ),
            "image": "-cuda:" in container["image"],
        }
        if len(set(signs.values())) > 1:
            absent = [sign for sign, there in signs.items() if not there]
            yield f"{name_of(each)} is half on a GPU: no {', '.join(absent)}"


@rule
def rollouts_find_their_gpus(objects: list[Object]) -> Iterator[str]:
    """What holds a GPU gives it back before its successor asks for one: there may be no other."""
    for each in of_kind(objects, "Deployment"):
        if "nvidia.com/gpu" in main_container(each)["resources"]["limits"]:
            update = each["spec"].get("strategy", {}).get("rollingUpdate", {})
            if update.get("maxSurge") != 0:
                yield f"a rollout of {name_of(each)} waits for a GPU beyond those in use"


@rule
def starts_are_checked(objects: list[Object]) -> Iterator[str]:
    """Every process of realm first says what is missing: an init container `check`."""
    for each in workloads(objects):
        if name_of(each) not in PROCESSES:
            continue
        checks = [c for c in pod(each).get("initContainers", []) if c["name"] == "check"]
        if not checks or "store" not in checks[0].get("args", []):
            yield f"{name_of(each)} starts without asking for its store"
        elif checks[0]["image"] != main_container(each)["image"]:
            yield f"{name_of(each)} is checked with another image than it runs"


@rule
def redis_keeps_what_it_has(objects: list[Object]) -> Iterator[str]:
    """Redis evicts nothing and logs every write; its queue is bounded by memory, not by loss."""
    for each in of_kind(objects, "ConfigMap"):
        if name_of(each).startswith("redis-config"):
            lines = set(each["data"]["redis.conf"].splitlines())
            for line in {"appendonly yes", "maxmemory-policy noeviction"} - lines:
                yield f"redis.conf lacks: {line}"


@rule
def collections_are_replicated(objects: list[Object]) -> Iterator[str]:
    """Collections have as many replicas as Qdrant has peers, up to 3; most of them acknowledge."""
    for each in workloads(objects):
        if name_of(each) != "qdrant":
            continue
        seen = environment(objects, main_container(each))
        peers = each["spec"]["replicas"]
        replicas = int(seen.get("QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR", 1))
        writes = int(seen.get("QDRANT__STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR", 1))
        if replicas != min(peers, 3):
            yield f"{replicas} replicas of a collection on {peers} peers"
        if writes != replicas // 2 + 1:
            yield f"{writes} of {replicas} replicas acknowledge a write"


@rule
def everything_has_one_namespace(objects: list[Object]) -> Iterator[str]:
    """Everything lies in the namespace realm, but what belongs to no namespace."""
    for each in objects:
        outside = each["kind"] in ("Namespace", "PriorityClass")
        if each["metadata"].get("namespace") != (None if outside else "realm"):
            yield f"{each['kind']} {name_of(each)} lies elsewhere"


@rule
def applied_objects_fit(objects: list[Object]) -> Iterator[str]:
    """Every object fits into the annotation in which `kubectl apply` keeps it."""
    for each in objects:
        size = len(json.dumps(each).encode())
        if size > 0.9 * ANNOTATION_BYTES:
            yield f"{each['kind']} {name_of(each)} has {size} bytes: split it"


@rule
def selectors_are_of_their_own(objects: list[Object]) -> Iterator[str]:
    """Every workload selects its own pods and no other's."""
    for each in workloads(objects):
        selector = each["spec"]["selector"]
        found = [name_of(w) for w in workloads(objects) if selects(selector, pod_labels(w))]
        if found != [name_of(each)] or pod_labels(each)[NAME_LABEL] != name_of(each):
            yield f"{name_of(each)} selects the pods of {found}"

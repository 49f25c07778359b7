"""The rules that every overlay keeps: `RULES`, each with manifests that break it.

Most say what a field of every thing of a kind must be (`field`); the others compare things.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tests.deploy import secrecy  # noqa: F401 (its rules count too)
from tests.deploy.rendering import (
    NAME_LABEL,
    Object,
    environment,
    find,
    main_container,
    name_of,
    of_kind,
    pod,
    pod_labels,
    selects,
    workloads,
)
from tests.deploy.rules import (
    GPU,
    RULES,
    all_containers,
    at,
    field,
    gateway,
    kind,
    named,
    on_gpus,
    pods,
    processes,
    rule,
    scratch,
    server,
    servers,
    set_variable,
    volumes,
)

__all__ = ["RULES"]

#: Seconds that a process needs beyond its drain: last reports, threads, files.
MARGIN_SECONDS = 5
#: The API server's limit for all annotations of an object together: `kubectl apply` uses one.
ANNOTATION_BYTES = 256 * 1024
TOKEN_HOLDERS = {"make-secrets"}
HOST = "kubernetes.io/hostname"


def without_token(objects: list[Object]) -> list[tuple[str, Object]]:
    return [each for each in pods(objects) if each[0] not in TOKEN_HOLDERS]


def is_pinned(image: str) -> bool:
    found = re.fullmatch(r"[a-z0-9.-]+\.[a-z]+(:\d+)?/\S+?:(?P<tag>[\w.-]+)", image)
    return found is not None and found["tag"] != "latest"


ENFORCED = "metadata labels pod-security.kubernetes.io/enforce"
field(kind("Namespace"), ENFORCED, "pods are held to the standard", "restricted")
field(pods, "securityContext runAsNonRoot", "no root", True)
field(pods, "securityContext runAsUser", "no root", bool, broken=0)
field(pods, "securityContext seccompProfile type", "system calls are few", "RuntimeDefault")
for name in ("hostNetwork", "hostPID", "hostIPC"):
    field(pods, name, "nothing of the host", lambda value: not value, broken=True)
field(volumes, "hostPath", "nothing of the host", None, broken={"path": "/"})
field(scratch, "emptyDir sizeLimit", "a pod must not fill its node", bool)
field(pods, "enableServiceLinks", "a Service named REALM_… would be an unknown setting", False)
field(without_token, "automountServiceAccountToken", "no token unless it needs the API", False)
field(kind("ServiceAccount"), "automountServiceAccountToken", "accounts give no token", False)
field(all_containers, "securityContext readOnlyRootFilesystem", "the root is read-only", True)
field(all_containers, "securityContext allowPrivilegeEscalation", "no more privileges", False)
field(all_containers, "securityContext capabilities drop", "no capability", ["ALL"])
for name in ("runAsUser", "runAsNonRoot", "seccompProfile", "privileged"):
    field(all_containers, f"securityContext {name}", "the pod says it", None, broken=0)
for amount in ("requests", "limits"):
    for resource in ("cpu", "memory"):
        field(all_containers, f"resources {amount} {resource}", "resources are bounded", bool)
field(all_containers, "image", "a registry and a fixed tag", is_pinned, broken="realm/gateway:1")
for name in ("startupProbe", "readinessProbe", "livenessProbe"):
    field(servers, name, "what runs for long is probed", bool)
field(
    kind("StatefulSet"), "spec podManagementPolicy",
    "the next apply replaces a pod that cannot start", "Parallel",
)  # fmt: skip
field(server("gateway"), "lifecycle preStop sleep", "proxies still send to it", bool)
field(
    kind("Deployment", name="gateway"), "spec strategy rollingUpdate maxUnavailable",
    "successors are ready first", 0,
)  # fmt: skip
field(on_gpus, "spec strategy rollingUpdate maxSurge", "there may be no further GPU", 0)
field(server("indexer"), "readinessProbe grpc service", "a standby holds no rollout up", "able")
field(server("indexer"), "livenessProbe grpc service", "a standby lives", "live")
field(
    kind("PodDisruptionBudget"), "spec maxUnavailable", "some eviction is allowed",
    lambda value: value not in (None, 0, "0%"), broken=0,
)  # fmt: skip


def scaled(objects: list[Object]) -> set[str]:
    scalers = of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler")
    return {each["spec"]["scaleTargetRef"]["name"] for each in scalers}


def replicated(objects: list[Object]) -> list[Object]:
    """Workloads that run, or may be scaled to, more than one pod."""
    return [
        each
        for each in workloads(objects)
        if each["spec"].get("replicas", 1) > 1 or name_of(each) in scaled(objects)
    ]


@rule(("local", lambda o: pod(gateway(o)).update(serviceAccountName="default")))
def accounts_are_own(objects: list[Object]) -> Iterator[str]:
    """Every pod has a service account of its own."""
    accounts = {name_of(each) for each in of_kind(objects, "ServiceAccount")}
    for name, spec in pods(objects):
        if spec.get("serviceAccountName") != name or name not in accounts:
            yield f"{name} runs as {spec.get('serviceAccountName')}"


@rule(
    ("local", lambda o: find(o, "Role", "make-secrets")["rules"][0]["verbs"].append("get")),
    ("local", lambda o: find(o, "Role", "make-secrets").update(kind="ClusterRole")),
)
def rights_are_few(objects: list[Object]) -> Iterator[str]:
    """Nobody has a right in the cluster but the job that may create Secrets in its namespace."""
    for name, _ in named(of_kind(objects, "ClusterRole", "ClusterRoleBinding")):
        yield f"{name} reaches over the whole cluster"
    for name, each in named(of_kind(objects, "Role")):
        for given in each["rules"]:
            if (given["resources"], given["verbs"]) != (["secrets"], ["create"]):
                yield f"role {name} allows {given['verbs']} on {given['resources']}"


def denials(objects: list[Object]) -> list[Object]:
    return [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if each["spec"]["podSelector"] == {}
        and set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not each["spec"].get("ingress")
        and not each["spec"].get("egress")
    ]


@rule(("local", lambda o: [each.update(policyTypes=["Ingress"]) for each in denials(o)]))
def policies_deny_by_default(objects: list[Object]) -> Iterator[str]:
    """Nobody talks to anybody unless a policy says so, in both directions."""
    if not denials(objects):
        yield "there is no policy that denies all"


@rule(
    ("cluster", lambda o: o.remove(find(o, "PodDisruptionBudget", "gateway"))),
    ("cluster", lambda o: find(o, "PodDisruptionBudget", "embedder")["spec"].pop(
        "unhealthyPodEvictionPolicy")),
)  # fmt: skip
def disruptions_are_budgeted(objects: list[Object]) -> Iterator[str]:
    """What runs more than once has one budget, which lets pods that are not ready go; but
    Qdrant's peers hold data, and one that is not ready may be about to become so."""
    budgets = of_kind(objects, "PodDisruptionBudget")
    for each in replicated(objects):
        held = [b for b in budgets if selects(b["spec"]["selector"], pod_labels(each))]
        if len(held) != 1:
            yield f"{name_of(each)} has {len(held)} disruption budgets"
    for name, budget in named(budgets):
        careless = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
        if careless is (name == "qdrant"):
            yield f"the budget {name} treats pods that are not ready wrongly"


def spread_over_zones(objects: list[Object]) -> None:
    constraints = pod(gateway(objects))["topologySpreadConstraints"]
    constraints.append({**constraints[0], "topologyKey": "topology.kubernetes.io/zone"})


@rule(
    ("cluster", lambda o: pod(gateway(o)).pop("topologySpreadConstraints")),
    ("cluster", spread_over_zones),
    ("cluster", lambda o: pod(gateway(o))["topologySpreadConstraints"][0].pop("matchLabelKeys")),
)
def replicas_are_spread(objects: list[Object]) -> Iterator[str]:
    """What runs more than once is spread over nodes, also where they carry no other label: a
    constraint by one that nodes lack has the scheduler pass them over for all. A rollout counts its
    own pods: where those of before count, all new ones may come to one node."""
    for each in replicated(objects):
        spread = pod(each).get("topologySpreadConstraints", [])
        chosen = [s for s in spread if selects(s["labelSelector"], pod_labels(each))]
        if {constraint["topologyKey"] for constraint in chosen} != {HOST}:
            yield f"{name_of(each)} may run all its pods on one node"
        keys = ["pod-template-hash"] if each["kind"] == "Deployment" else None
        if any(constraint.get("matchLabelKeys") != keys for constraint in chosen):
            yield f"{name_of(each)} may run all its pods on one node after a rollout"


@rule(("cluster", lambda o: pod(gateway(o)).update(terminationGracePeriodSeconds=30)))
def ends_are_graceful(objects: list[Object]) -> Iterator[str]:
    """preStop and drain together end well before the pod is killed."""
    for name, each in named(workloads(objects)):
        container = main_container(each)
        pause = at(container, ["lifecycle", "preStop", "sleep", "seconds"]) or 0
        drain = float(environment(objects, container).get("REALM_DRAIN_SECONDS", 10))
        needed = pause + drain + MARGIN_SECONDS
        if pod(each).get("terminationGracePeriodSeconds", 30) < needed:
            yield f"{name} is killed before the {needed:g} s that its end may take"


@rule(("local", lambda o: pod(gateway(o)).update(priorityClassName="realm-learning")))
def priorities_are_given(objects: list[Object]) -> Iterator[str]:
    """Every pod has a priority class, and what answers stands above what learns."""
    classes = {name: each["value"] for name, each in named(of_kind(objects, "PriorityClass"))}
    given = {name: spec.get("priorityClassName", "") for name, spec in pods(objects)}
    yield from (f"{name} has no class of these" for name in given if given[name] not in classes)
    if classes.get(given["gateway"], 0) <= classes.get(given["trainer"], 0):
        yield "the trainer may push gateways from their nodes"


@rule(("cluster", lambda o: find(o, "StatefulSet", "trainer")["spec"].update(replicas=2)))
def trainers_are_single(objects: list[Object]) -> Iterator[str]:
    """The trainer never runs twice at once: a StatefulSet of one."""
    trainer = find(objects, "StatefulSet", "trainer")
    if trainer["spec"].get("replicas", 1) != 1 or "trainer" in scaled(objects):
        yield "two trainers may run at once"


@rule(("cluster", lambda o: main_container(find(o, "StatefulSet", "indexer")).update(env=[])))
def leaders_are_told_apart(objects: list[Object]) -> Iterator[str]:
    """One of several indexers says where it is."""
    indexer = find(objects, "StatefulSet", "indexer")
    told = {given["name"] for given in main_container(indexer)["env"]}
    if indexer["spec"].get("replicas", 1) > 1 and "REALM_INDEXER_ADVERTISE" not in told:
        yield "gateways cannot tell the indexer that leads from the other"


@rule(("cluster-operators", lambda o: find(o, "Deployment", "embedder")["spec"].update(replicas=2)))
def autoscalers_own_the_number(objects: list[Object]) -> Iterator[str]:
    """What an autoscaler scales gives no number itself, or each apply would put it back."""
    for name, each in named(workloads(objects)):
        if name in scaled(objects) and "replicas" in each["spec"]:
            yield f"{name} gives replicas and is scaled"


@rule(("cluster", lambda o: pod(find(o, "Deployment", "embedder")).pop("tolerations")))
def gpus_are_asked_for(objects: list[Object]) -> Iterator[str]:
    """REALM_DEVICE=cuda, a GPU among the limits, its toleration and a CUDA image go together."""
    for name, each in processes(objects):
        container = main_container(each)
        signs = {
            "device": environment(objects, container).get("REALM_DEVICE") == "cuda",
            "limit": GPU in container["resources"]["limits"],
            "toleration": GPU in [t["key"] for t in pod(each).get("tolerations", [])],
            "image": "-cuda:" in container["image"],
        }
        if len(set(signs.values())) > 1:
            yield f"{name} is half on a GPU: {signs}"


@rule(("local", lambda o: pod(gateway(o)).pop("initContainers")))
def starts_are_checked(objects: list[Object]) -> Iterator[str]:
    """Every process of realm first says what is missing: an init container `check`."""
    for name, each in processes(objects):
        checks = [c for c in pod(each).get("initContainers", []) if c["name"] == "check"]
        if not checks or "store" not in checks[0].get("args", []):
            yield f"{name} starts without asking for its store"
        elif checks[0]["image"] != main_container(each)["image"]:
            yield f"{name} is checked with another image than it runs"


def redis_configs(objects: list[Object]) -> list[Object]:
    maps = of_kind(objects, "ConfigMap")
    return [each["data"] for each in maps if name_of(each).startswith("redis-config")]


@rule(("local", lambda o: [d.update({"redis.conf": "appendonly yes"}) for d in redis_configs(o)]))
def redis_keeps_what_it_has(objects: list[Object]) -> Iterator[str]:
    """Redis evicts nothing and logs every write; its queue is bounded by memory, not by loss."""
    for data in redis_configs(objects):
        wanted = {"appendonly yes", "maxmemory-policy noeviction"}
        yield from wanted - set(data["redis.conf"].splitlines())


WRITES = "QDRANT__STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR"
REPLICAS = "QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR"


@rule(
    ("cluster", lambda o: set_variable(o, find(o, "StatefulSet", "qdrant"), WRITES, "1")),
    ("cluster", lambda o: set_variable(o, find(o, "StatefulSet", "qdrant"), REPLICAS, "2")),
)
def collections_are_replicated(objects: list[Object]) -> Iterator[str]:
    """Collections have as many replicas as Qdrant has peers, up to 3; most of them acknowledge."""
    qdrant = find(objects, "StatefulSet", "qdrant")
    seen, peers = environment(objects, main_container(qdrant)), qdrant["spec"]["replicas"]
    replicas, writes = int(seen.get(REPLICAS, 1)), int(seen.get(WRITES, 1))
    if replicas != min(peers, 3):
        yield f"{replicas} replicas of a collection on {peers} peers"
    if writes != replicas // 2 + 1:
        yield f"{writes} of {replicas} replicas acknowledge a write"


@rule(("local", lambda o: gateway(o)["metadata"].update(namespace="default")))
def everything_has_one_namespace(objects: list[Object]) -> Iterator[str]:
    """Everything lies in the namespace realm, but what belongs to no namespace."""
    for name, each in named(objects):
        outside = each["kind"] in ("Namespace", "PriorityClass")
        if each["metadata"].get("namespace") != (None if outside else "realm"):
            yield f"{each['kind']} {name} lies elsewhere"


@rule(
    (
        "cluster",
        lambda o: find(o, "ConfigMap", "grafana-dashboards")["data"].update(x="x" * 100_000),
    )
)
def applied_objects_fit(objects: list[Object]) -> Iterator[str]:
    """Every object fits into the annotation in which `kubectl apply` keeps it."""
    for name, each in named(objects):
        if (size := len(json.dumps(each).encode())) > 0.9 * ANNOTATION_BYTES:
            yield f"{each['kind']} {name} has {size} bytes: split it"


@rule(
    ("local", lambda o: gateway(o)["spec"]["template"]["metadata"]["labels"].update(
        {NAME_LABEL: "indexer"})),
)  # fmt: skip
def selectors_are_own(objects: list[Object]) -> Iterator[str]:
    """Every workload selects its own pods and no other's."""
    for name, each in named(workloads(objects)):
        selector = each["spec"]["selector"]
        found = [name_of(w) for w in workloads(objects) if selects(selector, pod_labels(w))]
        if found != [name] or pod_labels(each)[NAME_LABEL] != name:
            yield f"{name} selects the pods of {found}"

"""Overlays applied to a real API server: admission, controllers, scheduler, evictions, removal.

Nodes are there in name only and no container runs; `make test-cluster` is for that.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.deploy.api_server import GPU, SECONDS, ApiServer, api_server
from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.rendering import (
    K8S,
    NAME_LABEL,
    ROOT,
    Object,
    find,
    main_container,
    name_of,
    of_kind,
    render,
    workloads,
)
from tests.deploy.test_overlays import ADDED, with_components
from tests.waiting import until
from tools.preflight import CHECKS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REALM = "/api/v1/namespaces/realm"
APPS = "/apis/apps/v1/namespaces/realm"
#: The claims of the overlay `cluster`: the store, Redis', Prometheus' and each Qdrant's.
CLAIMS = 6


def manifests(overlay: str) -> str:
    """kubectl's option that names it."""
    return f"--kustomize={K8S / 'overlays' / overlay}"


def preflight(server: ApiServer, overlay: str) -> dict[str, str]:
    """What it says by what that is about; the first word is the verdict."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.preflight", "--overlay", overlay],
        cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    lines = [re.fullmatch(r"(\w+) +([^:]+): (.+)", line) for line in done.stdout.splitlines()]
    found = {line[2]: f"{line[1]}: {line[3]}" for line in lines if line}
    assert done.returncode == int(any(each.startswith("missing") for each in found.values()))
    assert len(found) == len(CHECKS), done.stderr
    return found


def missing(found: dict[str, str]) -> set[str]:
    return {name for name, words in found.items() if words.startswith("missing")}


def is_settled(server: ApiServer) -> bool:
    """Every workload has all its pods, of its newest template, ready."""
    for each in server.items(f"{APPS}/deployments") + server.items(f"{APPS}/statefulsets"):
        wanted, status = each["spec"]["replicas"], each["status"]
        if status.get("observedGeneration") != each["metadata"]["generation"]:
            return False
        if [status.get(key, 0) for key in ("updatedReplicas", "readyReplicas", "replicas")] != [
            wanted
        ] * 3:
            return False
    return True


def await_settled(server: ApiServer) -> None:
    def told() -> str:
        return server.kubectl("get", "pods,events", "--namespace=realm").stdout

    try:
        until(lambda: is_settled(server), "every workload has its pods", SECONDS)
    except AssertionError as error:
        raise AssertionError(told()) from error


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api-server")) as server:
        yield server


@pytest.fixture(scope="module")
def lacking(empty: ApiServer) -> dict[str, str]:
    """What the preflight says of a cluster that has nothing."""
    return preflight(empty, "cluster")


@pytest.fixture(scope="module")
def equipped(empty: ApiServer, lacking: dict[str, str]) -> ApiServer:
    """Three zones, volumes, and GPUs for the trainer and two embedders, none to spare."""
    for zone in "abc":
        empty.add_node(f"cpu-{zone}", zone, cpu=16, memory="64Gi")
    empty.add_node("gpu-a", "a", cpu=16, memory="64Gi", gpus=2)
    empty.add_node("gpu-b", "b", cpu=8, memory="32Gi", gpus=1)
    empty.add_volumes(CLAIMS)
    return empty


@pytest.fixture(scope="module")
def cluster(equipped: ApiServer) -> ApiServer:
    equipped.kubectl("apply", manifests("cluster"))
    await_settled(equipped)
    return equipped


def by_name(pods: list[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = defaultdict(list)
    for each in pods:
        found[each["metadata"]["labels"][NAME_LABEL]].append(each)
    return found


def test_preflight_names_what_an_empty_cluster_lacks(lacking: dict[str, str]) -> None:
    assert {"default StorageClass", "store", "GPUs", "images"} <= missing(lacking)


def test_preflight_finds_what_is_there(equipped: ApiServer) -> None:
    for overlay in ("local", "cluster"):
        # They lie in no registry.
        assert missing(preflight(equipped, overlay)) == {"images"}
    assert "install KEDA" in preflight(equipped, "cluster-operators")["API kinds"]


def test_preflight_lives_with_a_further_api_server_that_is_down(equipped: ApiServer) -> None:
    """As a broken metrics-server is one."""
    gone = {"name": "gone", "namespace": "default"}
    body: Object = {
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "service": gone,
            "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": True,
        },
    }  # fmt: skip
    services = "/apis/apiregistration.k8s.io/v1/apiservices"
    before = preflight(equipped, "cluster")
    equipped.create(services, body)
    try:
        assert preflight(equipped, "cluster") == before
    finally:
        equipped.call("DELETE", f"{services}/v1beta1.metrics.k8s.io")


def test_every_pod_has_a_node_that_suits_it(cluster: ApiServer) -> None:
    objects = render("cluster")
    pods = by_name(cluster.pods())
    zones = {
        name_of(each): each["metadata"]["labels"]["topology.kubernetes.io/zone"]
        for each in cluster.items("/api/v1/nodes")
    }
    for workload in workloads(objects, jobs=True):
        name = name_of(workload)
        nodes = [each["spec"].get("nodeName", "") for each in pods[name]]
        assert len(nodes) == workload["spec"].get("replicas", 1)
        assert all(nodes), name
        wants_gpu = GPU in main_container(workload)["resources"]["limits"]
        assert {each.startswith("gpu-") for each in nodes} == {wants_gpu}, name
        if workload["spec"].get("replicas", 1) > 1 and not wants_gpu:
            assert len(set(nodes)) == len(nodes), f"{name} shares a node: {nodes}"
            assert len({zones[each] for each in nodes}) == len(nodes), name


def test_every_claim_is_bound(cluster: ApiServer) -> None:
    claims = cluster.items(f"{REALM}/persistentvolumeclaims")
    assert [each["status"]["phase"] for each in claims] == ["Bound"] * CLAIMS
    assert preflight(cluster, "cluster")["store"] == "ok: its claim is bound"


def test_no_pod_was_refused(cluster: ApiServer) -> None:
    """By admission, quota or pod security: controllers say it in events."""
    events = cluster.items(f"{REALM}/events")
    assert events
    assert [each["message"] for each in events if each["reason"].startswith("Failed")
            and each["reason"] != "FailedScheduling"] == []  # fmt: skip


def test_a_pod_that_may_be_root_is_refused(cluster: ApiServer) -> None:
    container = {"name": "any", "image": "registry.example/any:1"}
    body: Object = {"metadata": {"name": "root"}, "spec": {"containers": [container]}}
    code, said = cluster.call("POST", f"{REALM}/pods", body)
    assert code == 403
    assert "restricted" in said["message"]


def generations(server: ApiServer) -> dict[str, int]:
    found = server.items(f"{APPS}/deployments") + server.items(f"{APPS}/statefulsets")
    return {name_of(each): each["metadata"]["generation"] for each in found}


def test_a_second_apply_changes_nothing(cluster: ApiServer) -> None:
    before = generations(cluster)
    for words in (["apply"], ["apply", "--dry-run=server"]):
        said = cluster.kubectl(*words, manifests("cluster")).stdout.splitlines()
        assert len(said) == len(render("cluster"))
        # kubectl sends templates of claims again, since the server has filled them in.
        changed = [line for line in said if " unchanged" not in line]
        assert [line for line in changed if not line.startswith("statefulset.apps/")] == []
    assert generations(cluster) == before


def test_the_job_makes_the_secrets_and_may_do_nothing_else(
    cluster: ApiServer, tmp_path: Path
) -> None:
    """Its own script, with the token of its own account."""
    token = f"{REALM}/serviceaccounts/make-secrets/token"
    code, said = cluster.call("POST", token, {"spec": {"audiences": None}})
    assert code == 201, said
    (tmp_path / "token").write_text(said["status"]["token"])
    (tmp_path / "namespace").write_text("realm")
    (tmp_path / "ca.crt").write_bytes(cluster.authority.read_bytes())
    words = main_container(find(render("cluster"), "Job", "make-secrets"))["args"]
    command = [sys.executable, str(K8S / "base" / "make_secrets.py"), *words]
    environment = {**os.environ, "ACCOUNT_FOLDER": str(tmp_path), "API_SERVER": cluster.address}
    made = [
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60).stdout
        for _ in range(2)
    ]
    assert made[0].startswith("made the Secret realm-secrets")
    assert made[1].endswith("is there and stays as it is\n")
    held = cluster.call("GET", f"{REALM}/secrets/realm-secrets")[1]["data"]
    assert sorted(held) == sorted(words[1:])
    account = "--as=system:serviceaccount:realm:make-secrets"
    for verb, resource in (("get", "secrets"), ("list", "secrets"), ("create", "pods")):
        may = cluster.kubectl("auth", "can-i", verb, resource, account, "-n", "realm", check=False)
        assert may.stdout.strip() == "no", f"{verb} {resource}"
    (pod,) = by_name(cluster.pods())["make-secrets"]
    cluster.end_job(pod)


def test_the_job_goes_so_that_the_next_version_may_come(cluster: ApiServer) -> None:
    job = "/apis/batch/v1/namespaces/realm/jobs/make-secrets"
    until(lambda: cluster.call("GET", job)[0] == 404, "the job is gone", SECONDS)
    said = cluster.kubectl("apply", manifests("cluster")).stdout
    assert "job.batch/make-secrets created" in said


@pytest.mark.parametrize("overlay", ["local", "cluster"])
def test_every_component_is_accepted(cluster: ApiServer, overlay: str, tmp_path: Path) -> None:
    objects = with_components(tmp_path, overlay, ADDED)
    # A StatefulSet's claims, and a claim's size, cannot be changed: as if nothing were there.
    for each in of_kind(objects, "StatefulSet", "PersistentVolumeClaim"):
        each["metadata"]["name"] += "-new"
    cluster.kubectl("apply", "--dry-run=server", cluster.written(objects))


def evict(server: ApiServer, pod: Object) -> int:
    name = name_of(pod)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return server.call("POST", f"{REALM}/pods/{name}/eviction", body)[0]


@pytest.mark.parametrize("name", ["gateway", "indexer", "qdrant", "embedder", "embedder-delta"])
def test_one_pod_may_be_evicted_and_not_two(cluster: ApiServer, name: str) -> None:
    first, second, *_ = by_name(cluster.pods())[name]
    assert [evict(cluster, each) for each in (first, second)] == [201, 429]
    await_settled(cluster)


def test_a_drained_node_is_emptied_and_everything_finds_another(cluster: ApiServer) -> None:
    """GPUs aside, of which there are none to spare."""
    node = "cpu-a"
    cluster.kubectl("drain", node, "--delete-emptydir-data", f"--timeout={SECONDS}s")
    await_settled(cluster)
    assert node not in {each["spec"].get("nodeName") for each in cluster.pods()}
    cluster.kubectl("uncordon", node)


def watch_least(server: ApiServer, deployment: str, is_over: Callable[[], bool]) -> int:
    """The fewest ready pods that were seen."""
    least: list[int] = []

    def over() -> bool:
        found = server.call("GET", f"{APPS}/deployments/{deployment}")[1]
        least.append(found["status"].get("readyReplicas", 0))
        return is_over()

    until(over, "the rollout is over", SECONDS)
    return min(least)


def test_a_rollout_keeps_gateways_and_needs_no_further_gpu(cluster: ApiServer) -> None:
    before = {name_of(each) for each in cluster.pods()}
    for kind in ("statefulset", "deployment"):
        cluster.kubectl("rollout", "restart", kind, "--namespace=realm")
    assert watch_least(cluster, "gateway", lambda: is_settled(cluster)) == 3
    stayed = before & {name_of(each) for each in cluster.items(f"{REALM}/pods")}
    assert all(re.search(r"-\d+$", each) or "make-secrets" in each for each in stayed), stayed


def definition(kind: str) -> Object:
    """A custom resource's definition that takes anything: test_overlays looks at the fields."""
    version = SCHEMAS[kind]["properties"]["apiVersion"]["const"]
    group, _, version = version.partition("/")
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [{**served, "schema": {"openAPIV3Schema": anything}}],
        },
    }


def test_operators_take_over_and_no_pod_goes(cluster: ApiServer) -> None:
    """By the page's way: else `apply` takes the number of replicas away, which means one."""
    cluster.kubectl("apply", cluster.written([definition(kind) for kind in SCHEMAS]))
    names = [f"crd/{name_of(definition(kind))}" for kind in SCHEMAS]
    cluster.kubectl("wait", "--for=condition=Established", f"--timeout={SECONDS}s", *names)
    assert "KEDA" not in preflight(cluster, "cluster-operators")["API kinds"]
    page = (ROOT / "docs" / "install.md").read_text()
    (way,) = re.findall(r"(?ms)^```sh\n([^`]*set-last-applied[^`]*)^```", page)
    subprocess.run(["sh", "-ec", way], env=cluster.environment, timeout=SECONDS, check=True)
    before = generations(cluster)
    cluster.kubectl("apply", manifests("cluster-operators"))
    await_settled(cluster)
    assert generations(cluster) == before


def test_removal_leaves_nothing(cluster: ApiServer) -> None:
    for overlay in ("cluster-operators", "cluster"):
        option = manifests(overlay)
        cluster.kubectl("delete", option, "--ignore-not-found", f"--timeout={SECONDS}s")
    kinds = cluster.kubectl(
        "api-resources", "--verbs=list", "--output=name", "--cached=false"
    ).stdout.split()
    left = cluster.kubectl(
        "get", ",".join(kinds), "--all-namespaces", "--output=name",
        "--selector=app.kubernetes.io/part-of=realm",
    )  # fmt: skip
    assert left.stdout == ""
    assert cluster.call("GET", REALM)[0] == 404
    volumes = cluster.items("/api/v1/persistentvolumes")
    assert Counter(each["status"]["phase"] for each in volumes) == {"Released": CLAIMS}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One small node, where neither Redis nor the trainer can start."""
    with api_server(tmp_path_factory.mktemp("small")) as server:
        server.add_node("only", "a", cpu=2, memory="8Gi")
        server.add_volumes(CLAIMS, provisioner="rancher.io/local-path")
        server.failing.update({"redis", "trainer"})
        server.kubectl("apply", manifests("local"))
        until(lambda: has_nodes(server), "every pod has a node", SECONDS)
        yield server


def has_nodes(server: ApiServer) -> bool:
    found = by_name(server.pods())
    wanted = {name_of(each) for each in workloads(render("local"), jobs=True)}
    return wanted == {
        name for name, pods in found.items() if all(each["spec"].get("nodeName") for each in pods)
    }


def test_the_smallest_overlay_fits_on_one_small_node(small: ApiServer) -> None:
    assert {each["spec"].get("nodeName") for each in small.pods()} == {"only"}
    assert preflight(small, "local")["store"].startswith("ok: on one node")


def test_what_cannot_start_is_replaced_by_the_next_apply(small: ApiServer) -> None:
    """As after a mistake in an image's name or in a setting. The job has not ended either."""
    text = json.dumps(render("local"))
    cured = json.loads(re.sub(r"(?<=\"image\": \")[^/]+", "registry.test", text))
    small.kubectl("delete", "job", "make-secrets", "--namespace=realm")
    small.kubectl("apply", small.written(cured))

    def replaced() -> bool:
        pods = by_name(small.pods())
        held = [each["spec"]["containers"][0] for name in small.failing for each in pods[name]]
        return bool(held) and all(each["image"].startswith("registry.test/") for each in held)

    until(replaced, "pods that never got ready are replaced", SECONDS)
    small.failing.clear()
    await_settled(small)


def test_where_no_node_has_a_zone_pods_share_none(tmp_path: Path) -> None:
    """The scheduler scores no node by a topology of which it lacks the label."""
    names = ("gateway", "qdrant", "indexer")
    with api_server(tmp_path) as server:
        for number in range(3):
            server.add_node(f"node-{number}", "", cpu=16, memory="64Gi")
        server.add_volumes(CLAIMS)
        server.kubectl("apply", manifests("cluster"))

        def nodes() -> dict[str, list[str]]:
            pods = by_name(server.pods())
            return {each: [pod["spec"].get("nodeName", "") for pod in pods[each]] for each in names}

        until(lambda: all(all(each) and each for each in nodes().values()), "nodes", SECONDS)
        assert {each: len(set(found)) for each, found in nodes().items()} == {
            "gateway": 3, "qdrant": 3, "indexer": 2,
        }  # fmt: skip

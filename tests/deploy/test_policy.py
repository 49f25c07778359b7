"""Every overlay keeps every rule, and every rule catches a manifest that breaks it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.deploy import policy
from tests.deploy.rendering import (
    OVERLAYS,
    Object,
    find,
    main_container,
    of_kind,
    pod,
    render,
    workloads,
)
from tests.deploy.rules import Rule

Spoiler = Callable[[list[Object]], object]


def gateway(objects: list[Object]) -> Object:
    return find(objects, "Deployment", "gateway")


def qdrant_environment(objects: list[Object], name: str) -> Object:
    entries = main_container(find(objects, "StatefulSet", "qdrant"))["env"]
    return next(entry for entry in entries if entry["name"] == name)


def a_password_in_a_url(objects: list[Object]) -> None:
    for entry in main_container(gateway(objects))["env"]:
        if entry["name"] == "REALM_REDIS_URL":
            entry["value"] = "redis://:hunter2@redis:6379/0"


def no_append_only_file(objects: list[Object]) -> None:
    for each in of_kind(objects, "ConfigMap"):
        if "redis.conf" in each["data"]:
            each["data"]["redis.conf"] = each["data"]["redis.conf"].replace("noeviction", "lru")


def an_open_door(objects: list[Object]) -> None:
    for each in of_kind(objects, "NetworkPolicy"):
        if each["spec"]["podSelector"] == {} and "Ingress" in each["spec"]["policyTypes"]:
            each["spec"]["policyTypes"] = ["Ingress"]


#: A rule's name, the overlay that is spoiled, and how.
BROKEN: list[tuple[str, str, Spoiler]] = [
    (
        "namespace_is_restricted",
        "local",
        lambda o: find(o, "Namespace", "realm")["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "baseline"}
        ),
    ),
    (
        "pods_are_restricted",
        "local",
        lambda o: pod(gateway(o))["securityContext"].update(runAsUser=0),
    ),
    (
        "pods_are_restricted",
        "local",
        lambda o: pod(gateway(o))["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
    ),
    (
        "containers_are_locked",
        "local",
        lambda o: main_container(gateway(o))["securityContext"].pop("readOnlyRootFilesystem"),
    ),
    (
        "resources_are_bounded",
        "local",
        lambda o: main_container(gateway(o))["resources"]["limits"].pop("memory"),
    ),
    ("probes_are_there", "local", lambda o: main_container(gateway(o)).pop("startupProbe")),
    (
        "tokens_stay_away",
        "local",
        lambda o: pod(gateway(o)).update(automountServiceAccountToken=True),
    ),
    ("tokens_stay_away", "local", lambda o: pod(gateway(o)).update(serviceAccountName="default")),
    (
        "rights_are_few",
        "local",
        lambda o: find(o, "Role", "make-secrets")["rules"][0]["verbs"].append("get"),
    ),
    ("service_links_are_off", "local", lambda o: pod(gateway(o)).pop("enableServiceLinks")),
    (
        "disruptions_are_budgeted",
        "cluster",
        lambda o: o.remove(find(o, "PodDisruptionBudget", "gateway")),
    ),
    (
        "disruptions_are_budgeted",
        "local",
        lambda o: find(o, "PodDisruptionBudget", "gateway")["spec"].update(maxUnavailable=0),
    ),
    (
        "replicas_are_spread",
        "cluster",
        lambda o: pod(gateway(o)).pop("topologySpreadConstraints"),
    ),
    (
        "ends_are_graceful",
        "cluster",
        lambda o: pod(gateway(o)).update(terminationGracePeriodSeconds=30),
    ),
    (
        "cures_are_taken",
        "local",
        lambda o: find(o, "StatefulSet", "trainer")["spec"].pop("podManagementPolicy"),
    ),
    ("gateways_leave_quietly", "cluster", lambda o: main_container(gateway(o)).pop("lifecycle")),
    (
        "images_are_pinned",
        "local",
        lambda o: main_container(gateway(o)).update(image="docker.io/realm/gateway:latest"),
    ),
    ("images_are_pinned", "local", lambda o: main_container(gateway(o)).update(image="gateway:1")),
    (
        "priorities_are_given",
        "local",
        lambda o: pod(gateway(o)).update(priorityClassName="realm-learning"),
    ),
    (
        "single_ones_are_single",
        "cluster",
        lambda o: find(o, "StatefulSet", "trainer")["spec"].update(replicas=2),
    ),
    (
        "a_standby_holds_nothing_up",
        "cluster",
        lambda o: main_container(find(o, "StatefulSet", "indexer"))["readinessProbe"]["grpc"].pop(
            "service"
        ),
    ),
    (
        "a_standby_holds_nothing_up",
        "cluster",
        lambda o: main_container(find(o, "StatefulSet", "indexer")).update(env=[]),
    ),
    (
        "scaled_ones_have_no_number",
        "cluster-operators",
        lambda o: find(o, "Deployment", "embedder")["spec"].update(replicas=2),
    ),
    (
        "gpus_are_asked_for",
        "cluster",
        lambda o: pod(find(o, "Deployment", "embedder")).pop("tolerations"),
    ),
    (
        "rollouts_find_their_gpus",
        "cluster",
        lambda o: find(o, "Deployment", "embedder")["spec"].pop("strategy"),
    ),
    (
        "disruptions_are_budgeted",
        "cluster",
        lambda o: find(o, "PodDisruptionBudget", "embedder")["spec"].pop(
            "unhealthyPodEvictionPolicy"
        ),
    ),
    ("starts_are_checked", "local", lambda o: pod(gateway(o)).pop("initContainers")),
    ("secrets_are_not_written_down", "local", a_password_in_a_url),
    ("redis_keeps_what_it_has", "local", no_append_only_file),
    (
        "collections_are_replicated",
        "cluster",
        lambda o: qdrant_environment(
            o, "QDRANT__STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR"
        ).update(value="1"),
    ),
    ("policies_deny_by_default", "local", an_open_door),
    (
        "everything_has_one_namespace",
        "local",
        lambda o: gateway(o)["metadata"].update(namespace="default"),
    ),
    (
        "applied_objects_fit",
        "cluster",
        lambda o: find(o, "ConfigMap", "grafana-dashboards")["data"].update(more="x" * 100_000),
    ),
    (
        "selectors_are_of_their_own",
        "local",
        lambda o: gateway(o)["spec"]["template"]["metadata"]["labels"].update(
            {"app.kubernetes.io/name": "indexer"}
        ),
    ),
]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("rule", policy.RULES, ids=lambda rule: rule.__name__)
def test_overlay_keeps_the_rule(rule: Rule, overlay: str) -> None:
    assert list(rule(render(overlay))) == []


@pytest.mark.parametrize(("name", "overlay", "spoil"), BROKEN)
def test_rule_catches_what_breaks_it(name: str, overlay: str, spoil: Spoiler) -> None:
    objects = render(overlay)
    spoil(objects)
    (rule,) = [each for each in policy.RULES if each.__name__ == name]
    assert list(rule(objects))


def test_every_rule_has_a_sentence_and_a_manifest_that_breaks_it() -> None:
    assert {rule.__name__ for rule in policy.RULES} == {name for name, _, _ in BROKEN}
    assert all(rule.__doc__ for rule in policy.RULES)


def test_rules_see_workloads() -> None:
    assert {each["metadata"]["name"] for each in workloads(render("cluster"))} == {
        *("trainer", "embedder", "embedder-delta", "indexer", "gateway"),
        *("redis", "qdrant", "prometheus", "grafana"),
    }

"""The rules of what a process may do, and who may reach it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.deploy.rendering import (
    Object,
    containers,
    name_of,
    of_kind,
    pod,
    workloads,
)
from tests.deploy.rules import Rules

RULES = Rules()
rule = RULES.add
TOKEN_HOLDERS = {"make-secrets"}


@rule
def namespace_is_restricted(objects: list[Object]) -> Iterator[str]:
    """The namespace enforces the restricted pod security standard."""
    for each in of_kind(objects, "Namespace"):
        enforced = each["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
        if enforced != "restricted":
            yield f"namespace {name_of(each)} enforces {enforced}"


@rule
def pods_are_restricted(objects: list[Object]) -> Iterator[str]:
    """Every pod keeps to the restricted standard: no root, no host, RuntimeDefault seccomp."""
    for each in workloads(objects, jobs=True):
        spec, context = pod(each), pod(each).get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name_of(each)} may run as root: give runAsNonRoot and a numeric runAsUser"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name_of(each)} has no seccomp profile"
        if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name_of(each)} shares a namespace with its host"
        if any("hostPath" in volume for volume in spec.get("volumes", [])):
            yield f"{name_of(each)} mounts a folder of its host"


@rule
def containers_are_locked(objects: list[Object]) -> Iterator[str]:
    """Every container has a read-only root, no capability and no way to more privileges."""
    for each in workloads(objects, jobs=True):
        for container in containers(each):
            context = container.get("securityContext", {})
            where = f"{name_of(each)}/{container['name']}"
            if context.get("readOnlyRootFilesystem") is not True:
                yield f"{where} may write its root"
            if context.get("allowPrivilegeEscalation") is not False:
                yield f"{where} may gain privileges"
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{where} keeps capabilities"
            if {"runAsUser", "runAsNonRoot", "seccompProfile", "privileged"} & set(context):
                yield f"{where} overrides what its pod says of users"


@rule
def tokens_stay_away(objects: list[Object]) -> Iterator[str]:
    """Every pod has a service account of its own, without a token unless it needs the API."""
    accounts = {name_of(each): each for each in of_kind(objects, "ServiceAccount")}
    for each in workloads(objects, jobs=True):
        name, account = name_of(each), pod(each).get("serviceAccountName")
        if account != name or account not in accounts:
            yield f"{name} runs as {account}: give it an account of its own"
        if pod(each).get("automountServiceAccountToken") is not (name in TOKEN_HOLDERS):
            yield f"{name}: automountServiceAccountToken is not {name in TOKEN_HOLDERS}"
    for name, account in accounts.items():
        if account.get("automountServiceAccountToken") is not False:
            yield f"service account {name} hands out its token"


@rule
def rights_are_few(objects: list[Object]) -> Iterator[str]:
    """Nobody has a right in the cluster but the job that may create Secrets in its namespace."""
    for each in of_kind(objects, "ClusterRole", "ClusterRoleBinding"):
        yield f"{each['kind']} {name_of(each)} reaches over the whole cluster"
    for each in of_kind(objects, "Role"):
        for given in each["rules"]:
            if (given["resources"], given["verbs"]) != (["secrets"], ["create"]):
                yield f"role {name_of(each)} allows {given['verbs']} on {given['resources']}"


@rule
def service_links_are_off(objects: list[Object]) -> Iterator[str]:
    """No pod gets variables of Services: one named REALM_… would be an unknown setting."""
    for each in workloads(objects, jobs=True):
        if pod(each).get("enableServiceLinks") is not False:
            yield f"{name_of(each)} has service links"


@rule
def images_are_pinned(objects: list[Object]) -> Iterator[str]:
    """Every image names its registry and a tag that does not move."""
    for each in workloads(objects, jobs=True):
        for container in containers(each):
            image = container["image"]
            found = re.fullmatch(r"[a-z0-9.-]+\.[a-z]+(:\d+)?/\S+?:(?P<tag>[\w.-]+)", image)
            if not found or found["tag"] == "latest":
                yield f"{name_of(each)}/{container['name']}: image {image} is not pinned"


@rule
def secrets_are_not_written_down(objects: list[Object]) -> Iterator[str]:
    """No manifest holds a secret: neither a Secret nor a value of a secret's variable."""
    for each in of_kind(objects, "Secret"):
        yield f"Secret {name_of(each)} is part of the manifests"
    given = [
        (name_of(each), entry["name"], entry["value"])
        for each in workloads(objects, jobs=True)
        for container in containers(each)
        for entry in container.get("env", [])
        if "value" in entry
    ]
    given += [
        (name_of(each), key, value)
        for each in of_kind(objects, "ConfigMap")
        for key, value in each.get("data", {}).items()
    ]
    for where, key, value in given:
        if re.search(r"PASSWORD|SECRET|API_KEY|AUTH$", key) and value:
            yield f"{where}: {key} is written down"
        if re.search(r"://[^/\s$]*:[^$@/\s]+@", value):
            yield f"{where}: {key} holds a password"


@rule
def policies_deny_by_default(objects: list[Object]) -> Iterator[str]:
    """Nobody talks to anybody unless a policy says so, in both directions."""
    denials = [
        each
        for each in of_kind(objects, "NetworkPolicy")
        if each["spec"]["podSelector"] == {}
        and set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not each["spec"].get("ingress")
        and not each["spec"].get("egress")
    ]
    if not denials:
        yield "there is no policy that denies all"

"""Rules of what stays secret: secrets, and what is said between processes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.deploy.rendering import (
    Object,
    environment,
    find,
    main_container,
    of_kind,
    target,
)
from tests.deploy.rules import (
    all_containers,
    at,
    gateway,
    named,
    processes,
    rule,
    servers,
    set_variable,
)

BACKEND = "nginx.ingress.kubernetes.io/backend-protocol"


@rule(
    ("local", lambda o: set_variable(o, gateway(o), "REALM_REDIS_URL", "redis://:hunter2@redis/0")),
    ("local", lambda o: o.append({"kind": "Secret", "metadata": {"name": "given"}})),
    ("local", lambda o: main_container(gateway(o))["env"].append(
        {"name": "REDIS_PASSWORD", "value": "hunter2"})),
)  # fmt: skip
def secrets_are_not_written_down(objects: list[Object]) -> Iterator[str]:
    """No manifest holds a Secret, nor a value of a secret's variable."""
    for name, _ in named(of_kind(objects, "Secret")):
        yield f"Secret {name} is part of the manifests"
    given = [
        (where, entry["name"], entry["value"])
        for where, container in all_containers(objects)
        for entry in container.get("env", [])
        if "value" in entry
    ]
    for where, each in named(of_kind(objects, "ConfigMap")):
        given += [(where, key, value) for key, value in each.get("data", {}).items()]
    for where, key, value in given:
        if re.search(r"PASSWORD|SECRET|API_KEY|AUTH$", key) and value:
            yield f"{where}: {key} is written down"
        if re.search(r"://[^/\s$]*:[^$@/\s]+@", value):
            yield f"{where}: {key} holds a password"


@rule(
    ("local", lambda o: main_container(gateway(o))["livenessProbe"]["grpc"].update(port=50051)),
    ("local", lambda o: at(find(o, "NetworkPolicy", "indexer"), ["spec", "ingress"])[0][
        "ports"].append({"port": 50053})),
)  # fmt: skip
def probes_speak_plaintext(objects: list[Object]) -> Iterator[str]:
    """A kubelet speaks no TLS: it asks where health alone is answered; no pod is let in there."""
    for name in ("gateway", "indexer"):
        container = next(each for where, each in servers(objects) if where == name)
        port = target(container, "health")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if container[probe]["grpc"]["port"] != port:
                yield f"the {probe} of {name} asks at another port than that of health"
        for where, policy in named(of_kind(objects, "NetworkPolicy")):
            for each in policy["spec"].get("ingress", []):
                if port in [open_port.get("port") for open_port in each.get("ports", [])]:
                    yield f"the policy {where} lets pods in at the port of health"


def set_for_all(objects: list[Object], name: str, value: str) -> None:
    for each in of_kind(objects, "ConfigMap"):
        if name in each["data"]:
            each["data"][name] = value


@rule(
    ("cluster", lambda o: set_for_all(o, "REALM_INDEXER_URL", "https://indexer:50052")),
    ("cluster", lambda o: set_for_all(o, "REALM_GATEWAY_ADDRESS", "https://gateway:50051")),
    ("cluster", lambda o: set_for_all(o, "REALM_INSECURE", "false")),
    ("cluster", lambda o: main_container(gateway(o))["env"].append(
        {"name": "REALM_TLS_CERTIFICATE", "value": "/etc/realm/certificate/tls.crt"})),
)  # fmt: skip
def servers_are_called_as_they_speak(objects: list[Object]) -> Iterator[str]:
    """Whoever has a certificate is called by https:// and sends it nowhere in plaintext."""
    callers = {"gateway": "REALM_GATEWAY_ADDRESS", "indexer": "REALM_INDEXER_URL"}
    for name, each in processes(objects):
        if name not in callers:
            continue
        seen = environment(objects, main_container(each))
        encrypted = "REALM_TLS_CERTIFICATE" in seen
        if seen[callers[name]].startswith("https://") is not encrypted:
            yield f"{name} is called as it does not speak: {seen[callers[name]]}"
        if (seen["REALM_INSECURE"] == "true") is encrypted:
            yield f"{name} may speak plaintext to others and has a certificate, or neither"
        for ingress in of_kind(objects, "Ingress"):
            spoken = ingress["metadata"]["annotations"][BACKEND]
            if name == "gateway" and spoken != ("GRPCS" if encrypted else "GRPC"):
                yield f"the ingress speaks {spoken} to gateways"

"""Every overlay renders, alone and with every component that may be added, and is valid."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from realm.process.listening import check_exposure
from tests.deploy import policy
from tests.deploy.custom_resources import SCHEMAS
from tests.deploy.rendering import (
    K8S,
    OVERLAYS,
    PROCESSES,
    RECIPES,
    Object,
    environment,
    find,
    main_container,
    name_of,
    of_kind,
    pod,
    pod_labels,
    render,
    render_folder,
    selects,
    workloads,
)
from tests.deploy.test_names import running

KUBERNETES = ("1.30", "1.37")
#: In the order in which overlays name them.
ADDED = ("s3-store", "ingress", "grpc-route", "tls", "certificates", "tracing")


def with_components(folder: Path, overlay: str, components: tuple[str, ...]) -> list[Object]:
    """The overlay with components added, as the page tells a user to add them."""

    def relative(path: Path) -> str:
        return os.path.relpath(path.resolve(), folder.resolve())

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "realm",
        "resources": [relative(K8S / "overlays" / overlay)],
        "components": [relative(K8S / "components" / each) for each in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return render_folder(folder)


def check(objects: list[Object], version: str) -> None:
    for each in objects:
        if each["kind"] in SCHEMAS:
            jsonschema.validate(each, SCHEMAS[each["kind"]])
        else:
            check_once(json.dumps(each, sort_keys=True), version)


@cache
def check_once(text: str, version: str) -> None:
    """Overlays share most of their objects."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_is_valid(overlay: str, version: str) -> None:
    check(render(overlay), version)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_valid_and_keeps_the_rules(recipe: str, version: str) -> None:
    objects = render(recipe)
    check(objects, version)
    assert [fault for rule in policy.RULES for fault in rule.check(objects)] == []


def test_a_recipe_names_the_class_of_every_claim() -> None:
    for recipe in RECIPES:
        objects = render(recipe)
        claims = [each["spec"] for each in of_kind(objects, "PersistentVolumeClaim")]
        for each in of_kind(objects, "StatefulSet"):
            claims += [claim["spec"] for claim in each["spec"].get("volumeClaimTemplates", [])]
        assert len(claims) >= 3
        assert all(each.get("storageClassName") for each in claims), recipe


def test_on_gke_pods_with_gpus_find_the_driver_s_libraries() -> None:
    objects = render("gke")
    for each in workloads(objects):
        container = main_container(each)
        has_gpu = "nvidia.com/gpu" in container["resources"]["limits"]
        found = environment(objects, container).get("LD_LIBRARY_PATH")
        assert found == ("/usr/local/nvidia/lib64" if has_gpu else None), name_of(each)


def test_the_example_of_one_s_own_overlay_moves_everything_to_its_namespace() -> None:
    objects = render("example")
    check(objects, "1.37")
    (namespace,) = of_kind(objects, "Namespace")
    assert name_of(namespace) == "search"
    there = {each["metadata"].get("namespace", "search") for each in objects}
    assert there == {"search"}
    (subject,) = find(objects, "RoleBinding", "make-secrets")["subjects"]
    assert subject["namespace"] == "search"
    seen = environment(objects, main_container(find(objects, "StatefulSet", "indexer")))
    assert seen["REALM_REFRESH_TARGET_SECONDS"] == "7200"
    assert seen["REALM_STORE_URL"] == "s3://your-bucket/realm"


@pytest.mark.parametrize("components", [*((each,) for each in ADDED), ADDED], ids="+".join)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_with_components_is_valid_and_keeps_the_rules(
    overlay: str, components: tuple[str, ...], tmp_path: Path
) -> None:
    objects = with_components(tmp_path, overlay, components)
    check(objects, "1.37")
    assert [fault for rule in policy.RULES for fault in rule.check(objects)] == []


def test_an_unknown_field_is_found() -> None:
    gateway = find(render("local"), "Deployment", "gateway")
    pod(gateway)["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(gateway, "1.37", strict=True)


def test_an_unknown_field_of_a_custom_resource_is_found() -> None:
    scaler = find(render("cluster-operators"), "ScaledObject", "embedder")
    scaler["spec"]["minReplicas"] = 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(scaler, SCHEMAS["ScaledObject"])


@pytest.mark.parametrize("overlay", ["local", "cluster"])
def test_overlays_for_any_cluster_hold_no_custom_resource(overlay: str) -> None:
    assert of_kind(render(overlay), *SCHEMAS) == []


def test_the_bucket_replaces_the_volume(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "cluster", ("s3-store",))
    assert of_kind(objects, "PersistentVolumeClaim") == []
    for each in workloads(objects):
        if name_of(each) in PROCESSES:
            seen = environment(objects, main_container(each))
            assert seen["REALM_STORE_URL"].startswith("s3://")
            assert "store" not in {volume["name"] for volume in pod(each)["volumes"]}
            assert {"name": "s3", "optional": True} in [
                source.get("secretRef") for source in main_container(each)["envFrom"]
            ]


def test_tls_reaches_servers_and_clients(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "cluster", ("tls",))
    for each in workloads(objects):
        if name_of(each) in PROCESSES:
            seen = environment(objects, main_container(each))
            assert seen["REALM_REDIS_URL"].startswith("rediss://:<redis-password>@redis:6379/0?")
            peers = seen["REALM_QDRANT_URL"].split(",")
            assert peers == [f"https://qdrant-{n}.qdrant-headless:6334" for n in range(3)]
    probes = main_container(find(objects, "StatefulSet", "qdrant"))
    assert probes["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    settings = next(m for m in of_kind(objects, "ConfigMap") if "redis.conf" in m["data"])
    assert "port 0" in settings["data"]["redis.conf"].splitlines()


def mounted_secrets(workload: Object) -> dict[str, str]:
    """The Secret at each path of the main container."""
    secrets = {
        volume["name"]: volume["secret"]["secretName"]
        for volume in pod(workload)["volumes"]
        if "secret" in volume
    }
    mounts = main_container(workload)["volumeMounts"]
    return {
        mount["mountPath"]: secrets[mount["name"]] for mount in mounts if mount["name"] in secrets
    }


def test_gateways_and_indexers_show_certificates_and_need_no_leave_to_listen(
    tmp_path: Path,
) -> None:
    objects = with_components(tmp_path, "cluster", ("tls",))
    for name, container, settings in running(objects):
        access = settings.access
        listens = {
            "gateway": (settings.addresses.gateway_listen, access.require_keys),
            "indexer": (settings.addresses.indexer_listen, bool(access.service_key)),
        }
        kind = "StatefulSet" if name in ("trainer", "indexer") else "Deployment"
        secrets = mounted_secrets(find(objects, kind, name))
        authority = Path(access.tls_authority)
        assert (secrets[str(authority.parent)], authority.name) == ("realm-tls", "ca.crt")
        if name not in listens:
            assert not access.tls_certificate
            continue
        address, keys = listens[name]
        check_exposure(access, address, keys=keys)
        shown = [Path(access.tls_certificate), Path(access.tls_private_key)]
        assert [each.name for each in shown] == ["tls.crt", "tls.key"]
        assert {secrets[str(each.parent)] for each in shown} == {f"realm-{name}-tls"}
        assert access.tls_clients is (name == "indexer")
        assert container["ports"]


def test_certificates_are_made_for_every_secret_and_every_name(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "cluster", ("tls", "certificates"))
    made = {each["spec"]["secretName"]: each["spec"] for each in of_kind(objects, "Certificate")}
    authority = made.pop("realm-authority")
    needed = {secret for each in workloads(objects) for secret in mounted_secrets(each).values()}
    assert needed - {"realm-alerts"} == set(made)
    assert {each["issuerRef"]["name"] for each in made.values()} == {"realm-authority"}
    (signing,) = [each for each in of_kind(objects, "Issuer") if "ca" in each["spec"]]
    assert signing["spec"]["ca"]["secretName"] == authority["secretName"]
    assert signing["metadata"]["name"] == "realm-authority"
    for service in of_kind(objects, "Service"):
        own = service["spec"]["selector"]["app.kubernetes.io/name"]
        # Metrics are plaintext; Qdrant's peers are called by their own names.
        if own in ("gateway", "indexer", "redis", "qdrant") and name_of(service) not in (
            f"{own}-metrics",
            "qdrant-headless",
        ):
            secret = f"realm-{own}-tls" if own in ("gateway", "indexer") else "realm-tls"
            assert name_of(service) in made[secret]["dnsNames"]
    assert "*.qdrant-headless" in made["realm-tls"]["dnsNames"]
    assert "client auth" in made["realm-gateway-tls"]["usages"]


def test_traces_reach_the_collector(tmp_path: Path) -> None:
    objects = with_components(tmp_path, "cluster", ("tracing",))
    (way,) = [each for each in of_kind(objects, "NetworkPolicy") if name_of(each) == "tracing"]
    for each in workloads(objects):
        if name_of(each) in PROCESSES:
            endpoint = environment(objects, main_container(each))["OTEL_EXPORTER_OTLP_ENDPOINT"]
            host, port = endpoint.removeprefix("http://").split(":")
            (rule,) = way["spec"]["egress"]
            (there,) = rule["to"]
            namespace = there["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            assert host.split(".")[1] == namespace
            assert rule["ports"] == [{"protocol": "TCP", "port": int(port)}]
            assert selects(way["spec"]["podSelector"], pod_labels(each))

"""Names agree: between manifests, and between manifests and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from realm.process.queue import DELTA_QUEUE, EMBED_QUEUE
from realm.process.rpc import LIVE_NAME
from realm.settings import FLAT, VARIABLES, Settings, field_of, load_settings, variable
from services.gateway.gateway import READY_NAMES
from tests.deploy.rendering import (
    OVERLAYS,
    PROCESSES,
    Object,
    containers,
    environment,
    find,
    main_container,
    name_of,
    of_kind,
    pod,
    pod_labels,
    render,
    secret_keys,
    selects,
    target,
    workloads,
)

#: Variables that other programs than realm's settings read.
OTHERS = {
    *("OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM", "REDIS_PASSWORD", "REDISCLI_AUTH"),
    *("AWS_REGION", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"),
}


def processes(objects: list[Object]) -> Iterator[Object]:
    for each in workloads(objects):
        if name_of(each) in PROCESSES:
            yield each


def settings_of(
    objects: list[Object], workload: Object, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """What the process would read from its environment."""
    with monkeypatch.context() as patch:
        for name, value in environment(objects, main_container(workload)).items():
            patch.setenv(name, value)
        return load_settings()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(overlay)
    known = VARIABLES
    for each in processes(objects):
        for container in containers(each):
            assert set(environment(objects, container)) - known <= OTHERS
        settings_of(objects, each, monkeypatch)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_setting_is_left_at_a_default_for_one_machine(overlay: str) -> None:
    objects = render(overlay)
    needed = {
        variable(name)
        for name in FLAT
        if re.search(r"127\.0\.0\.1|\.realm", str(field_of(name).default))
    }
    assert "REALM_INDEXER_LISTEN" in needed
    for each in processes(objects):
        assert needed <= set(environment(objects, main_container(each)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_variables_are_defined_before_they_are_used(overlay: str) -> None:
    objects = render(overlay)
    for each in processes(objects):
        for container in containers(each):
            assert "$(" not in "".join(environment(objects, container).values())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_processes_listen_where_services_and_probes_look(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(overlay)
    for each in processes(objects):
        settings, container = settings_of(objects, each, monkeypatch), main_container(each)
        assert target(container, "metrics") == settings.addresses.metrics_port
        assert settings.addresses.metrics_listen == "0.0.0.0"
        listens = {
            "gateway": settings.addresses.gateway_listen,
            "indexer": settings.addresses.indexer_listen,
        }
        if name_of(each) in listens:
            address = listens[name_of(each)]
            assert address == f"0.0.0.0:{target(container, 'grpc')}"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[probe]["grpc"]["port"] == target(container, "grpc")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_services_select_pods_that_have_the_port(overlay: str) -> None:
    objects = render(overlay)
    for service in of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        found = [each for each in workloads(objects) if selects(selector, pod_labels(each))]
        assert len(found) == 1, name_of(service)
        for port in service["spec"].get("ports", []):
            assert target(main_container(found[0]), port["targetPort"]) == port["port"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_addresses_are_services(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(overlay)
    ports = {
        (name_of(service), port["port"])
        for service in of_kind(objects, "Service")
        for port in service["spec"].get("ports", [])
    }
    for each in processes(objects):
        settings = settings_of(objects, each, monkeypatch)
        for url in (
            settings.addresses.redis_url,
            settings.addresses.qdrant_url,
            f"grpc://{settings.addresses.indexer_url}",
            f"grpc://{settings.addresses.gateway_address}",
        ):
            assert (urlsplit(url).hostname, urlsplit(url).port) in ports
        assert "<redis-password>" in settings.addresses.redis_url


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_that_manifests_refer_to_exist(overlay: str) -> None:
    objects = render(overlay)
    there = {(each["kind"], name_of(each)) for each in objects}
    for each in workloads(objects, jobs=True):
        mounted = {m["name"] for c in containers(each) for m in c.get("volumeMounts", [])}
        own = {name_of(c) for c in each["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in pod(each).get("volumes", [])}
        assert mounted == own | set(volumes), name_of(each)
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in there
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if "configMap" in source:
                    assert ("ConfigMap", source["configMap"]["name"]) in there
        if each["kind"] == "StatefulSet":
            assert ("Service", each["spec"]["serviceName"]) in there
    for scaler in of_kind(objects, "ScaledObject"):
        assert ("Deployment", scaler["spec"]["scaleTargetRef"]["name"]) in there


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_keys_taken_from_the_secret_are_those_that_are_made(overlay: str) -> None:
    objects = render(overlay)
    name, *made = pod(find(objects, "Job", "make-secrets"))["containers"][0]["args"]
    taken = {pair for each in workloads(objects) for pair in secret_keys(each)}
    for monitor in of_kind(objects, "PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if "authorization" in endpoint:
                credentials = endpoint["authorization"]["credentials"]
                taken.add((credentials["name"], credentials["key"]))
    assert taken <= {(name, key) for key in made}
    if overlay == "cluster":
        assert taken == {(name, key) for key in made}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_paths_in_settings_can_be_written(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(overlay)
    for each in processes(objects):
        settings, container = settings_of(objects, each, monkeypatch), main_container(each)
        writable = {m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")}
        assert settings.addresses.store_url.removeprefix("file://") in writable
        assert settings.addresses.store_cache in writable
        assert "/tmp" in writable
        if settings.process.heartbeat_file:
            assert str(Path(settings.process.heartbeat_file).parent) in writable
            # Startup and readiness may ask for /metrics; that it still works only the file tells.
            probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
            commands = [" ".join(each["exec"]["command"]) for each in probes if "exec" in each]
            assert "exec" in container["livenessProbe"]
            assert all(settings.process.heartbeat_file in command for command in commands)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_queue_is_served(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = render(overlay)
    served = {
        name_of(each): settings_of(objects, each, monkeypatch).embedder.embedder_queues
        for each in processes(objects)
        if PROCESSES[name_of(each)] == "embedder"
    }
    assert served == {"embedder": EMBED_QUEUE, "embedder-delta": DELTA_QUEUE}


def test_gateway_probes_ask_for_names_that_it_answers_for() -> None:
    container = main_container(find(render("cluster"), "Deployment", "gateway"))
    assert container["livenessProbe"]["grpc"]["service"] == LIVE_NAME
    assert container["startupProbe"]["grpc"]["service"] == LIVE_NAME
    assert container["readinessProbe"]["grpc"]["service"] in READY_NAMES


def test_documents_come_in_before_a_gateway_is_ready() -> None:
    service = find(render("cluster"), "Service", "gateway-import")
    assert service["spec"]["publishNotReadyAddresses"] is True

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
from tests.deploy.rules import processes

#: Variables that other programs than realm's settings read.
OTHERS = {
    *("OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM", "REDIS_PASSWORD", "REDISCLI_AUTH"),
    *("AWS_REGION", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"),
}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(request.param)


def running(objects: list[Object]) -> Iterator[tuple[str, Object, Settings]]:
    """Each process of realm: its name, its container, the settings that it would read."""
    for name, each in processes(objects):
        with pytest.MonkeyPatch.context() as patch:
            for variable_name, value in environment(objects, main_container(each)).items():
                patch.setenv(variable_name, value)
            yield name, main_container(each), load_settings()


def test_every_variable_is_a_setting_and_defined_before_its_use(objects: list[Object]) -> None:
    assert {name for name, _, _ in running(objects)} == set(PROCESSES)
    for _, each in processes(objects):
        for container in containers(each):
            seen = environment(objects, container)
            assert set(seen) - VARIABLES <= OTHERS
            assert "$(" not in "".join(seen.values())


def test_no_setting_is_left_at_a_default_for_one_machine(objects: list[Object]) -> None:
    needed = {
        variable(name)
        for name in FLAT
        if re.search(r"127\.0\.0\.1|\.realm", str(field_of(name).default))
    }
    assert "REALM_INDEXER_LISTEN" in needed
    for _, each in processes(objects):
        assert needed <= set(environment(objects, main_container(each)))


def test_processes_listen_where_services_and_probes_look(objects: list[Object]) -> None:
    for name, container, settings in running(objects):
        addresses = settings.addresses
        assert target(container, "metrics") == addresses.metrics_port
        assert addresses.metrics_listen == "0.0.0.0"
        listens = {"gateway": addresses.gateway_listen, "indexer": addresses.indexer_listen}
        if name in listens:
            assert listens[name] == f"0.0.0.0:{target(container, 'grpc')}"
            assert addresses.health_listen == f"0.0.0.0:{target(container, 'health')}"


def test_services_select_pods_that_have_the_port(objects: list[Object]) -> None:
    for service in of_kind(objects, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        found = [each for each in workloads(objects) if selects(selector, pod_labels(each))]
        assert len(found) == 1, name_of(service)
        for port in service["spec"].get("ports", []):
            assert target(main_container(found[0]), port["targetPort"]) == port["port"]


def test_addresses_are_services(objects: list[Object]) -> None:
    ports = {
        (name_of(service), port["port"])
        for service in of_kind(objects, "Service")
        for port in service["spec"].get("ports", [])
    }
    for _, _, settings in running(objects):
        given = settings.addresses
        calls = (f"grpc://{given.indexer_url}", f"grpc://{given.gateway_address}")
        peers = given.qdrant_url.split(",")
        for url in (given.redis_url, *peers, *calls):
            # A pod of a StatefulSet is named before its Service.
            host = str(urlsplit(url).hostname).rpartition(".")[2]
            assert (host, urlsplit(url).port) in ports
        assert len(peers) == find(objects, "StatefulSet", "qdrant")["spec"]["replicas"]
        assert "<redis-password>" in given.redis_url


def test_names_that_manifests_refer_to_exist(objects: list[Object]) -> None:
    there = {(each["kind"], name_of(each)) for each in objects}
    asked = set()
    for each in workloads(objects, jobs=True):
        mounted = {m["name"] for c in containers(each) for m in c.get("volumeMounts", [])}
        own = {name_of(c) for c in each["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in pod(each).get("volumes", [])}
        assert mounted == own | set(volumes), name_of(each)
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                asked.add(("PersistentVolumeClaim", claim["claimName"]))
            for source in (volume, *volume.get("projected", {}).get("sources", [])):
                if "configMap" in source:
                    asked.add(("ConfigMap", source["configMap"]["name"]))
        if each["kind"] == "StatefulSet":
            asked.add(("Service", each["spec"]["serviceName"]))
    for scaler in of_kind(objects, "ScaledObject"):
        asked.add(("Deployment", scaler["spec"]["scaleTargetRef"]["name"]))
    assert asked <= there


def test_keys_taken_from_the_secret_are_those_that_are_made(objects: list[Object]) -> None:
    name, *keys = main_container(find(objects, "Job", "make-secrets"))["args"]
    made = {(name, key) for key in keys}
    taken = {pair for each in workloads(objects) for pair in secret_keys(each)}
    for monitor in of_kind(objects, "PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if "authorization" in endpoint:
                credentials = endpoint["authorization"]["credentials"]
                taken.add((credentials["name"], credentials["key"]))
    assert taken <= made
    # Prometheus' own key is taken where Prometheus is bundled.
    if "prometheus" in {name_of(each) for each in workloads(objects)}:
        assert taken == made


def test_paths_in_settings_can_be_written(objects: list[Object]) -> None:
    for _, container, settings in running(objects):
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


def test_every_queue_is_served(objects: list[Object]) -> None:
    served = {
        name: settings.embedder.embedder_queues
        for name, _, settings in running(objects)
        if PROCESSES[name] == "embedder"
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

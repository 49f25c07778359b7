"""Every kind of monitoring finds every process, by the names that rules and dashboards use."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendering import (
    PROCESSES,
    ROOT,
    WATCHED,
    Object,
    compose,
    find,
    main_container,
    name_of,
    of_kind,
    pod,
    pod_labels,
    render,
    selects,
    target,
    workloads,
)
from tools.metrics_docs import known_series
from tools.prometheus_rule import RULES

GRAFANA = ROOT / "deploy" / "grafana"


def config_map(objects: list[Object], name: str) -> dict[str, str]:
    """The data of a map that a pod mounts whole, under the name that it has in no overlay."""
    (found,) = (
        each["data"]
        for each in of_kind(objects, "ConfigMap")
        if re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", name_of(each))
    )
    return dict(found)


def bundled() -> Object:
    config = config_map(render("cluster"), "prometheus-config")["prometheus.yaml"]
    return dict(yaml.safe_load(config))


def composed() -> Object:
    return dict(yaml.safe_load(compose()["configs"]["prometheus"]["content"]))


def mounted(workload: Object, volume: str) -> tuple[str, str]:
    """Where a volume is mounted, and the ConfigMap in it."""
    mounts = {each["name"]: each["mountPath"] for each in main_container(workload)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(workload)["volumes"]}
    return mounts[volume], volumes[volume]["configMap"]["name"]


def groups() -> list[Any]:
    return [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]


def queries(objects: list[Object]) -> Iterator[str]:
    for rules in of_kind(objects, "PrometheusRule"):
        for group in rules["spec"]["groups"]:
            yield from (each["expr"] for each in group["rules"])
    for scaler in of_kind(objects, "ScaledObject"):
        yield from (each["metadata"]["query"] for each in scaler["spec"]["triggers"])


def test_rules_and_scalers_ask_for_metrics_that_exist() -> None:
    asked = {
        name
        for query in queries(render("cluster-operators"))
        for name in re.findall(r"\b(?:realm|grpc_server)_[a-z_]+", query)
    }
    assert len(asked) > 10
    assert asked <= set(known_series())


def test_both_kinds_of_monitoring_have_the_same_rules() -> None:
    operator = find(render("cluster-operators"), "PrometheusRule", "realm")
    assert operator["spec"]["groups"] == groups()
    given = config_map(render("cluster"), "prometheus-rules")
    assert given == {file.name: file.read_text() for file in RULES}


def test_prometheus_reads_its_rules_where_they_are_mounted() -> None:
    path, name = mounted(find(render("cluster"), "StatefulSet", "prometheus"), "rules")
    assert name.startswith("prometheus-rules-")
    assert bundled()["rule_files"] == composed()["rule_files"] == [f"{path}/*.yaml"]
    volumes = compose()["services"]["prometheus"]["volumes"]
    assert {f"./prometheus/{file.name}:{path}/{file.name}:ro" for file in RULES} <= set(volumes)


def test_alerts_reach_whoever_the_secret_names() -> None:
    """Prometheus → Alertmanager → two URLs: people, and what is called when alerts stop."""
    objects = render("cluster")
    (manager,) = bundled()["alerting"]["alertmanagers"]
    (source,) = manager["static_configs"]
    host, port = source["targets"][0].split(":")
    assert int(port) in [each["port"] for each in find(objects, "Service", host)["spec"]["ports"]]
    config = yaml.safe_load(config_map(objects, "alertmanager-config")["alertmanager.yaml"])
    receivers = {
        each["name"]: each["webhook_configs"][0]["url_file"] for each in config["receivers"]
    }
    assert config["route"]["receiver"] in receivers
    (always,) = config["route"]["routes"]
    assert always["matchers"] == ['alertname="Watchdog"']
    assert always["receiver"] in receivers
    deployment = find(objects, "Deployment", "alertmanager")
    mounts = {
        each["name"]: each["mountPath"] for each in main_container(deployment)["volumeMounts"]
    }
    assert {path.rpartition("/")[0] for path in receivers.values()} == {mounts["urls"]}


@pytest.mark.parametrize("overlay", ["cluster", "cluster-operators"])
def test_every_dashboard_is_there_for_grafana(overlay: str) -> None:
    objects = render(overlay)
    boards = find(objects, "ConfigMap", "grafana-dashboards")
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert boards["data"] == {path.name: path.read_text() for path in GRAFANA.glob("*.json")}


def test_grafana_reads_its_dashboards_where_they_are_mounted() -> None:
    objects = render("cluster")
    path, name = mounted(find(objects, "Deployment", "grafana"), "dashboards")
    assert name == "grafana-dashboards"
    provisioning = config_map(objects, "grafana-provisioning")
    (provider,) = yaml.safe_load(provisioning["dashboards.yaml"])["providers"]
    assert provider["options"]["path"] == path
    assert f"./grafana:{path}:ro" in compose()["services"]["grafana"]["volumes"]


def test_bundled_prometheus_finds_every_process() -> None:
    objects = render("cluster")
    for job in bundled()["scrape_configs"]:
        (source,) = job["dns_sd_configs"]
        service = find(objects, "Service", source["names"][0])
        workload = next(
            each
            for each in workloads(objects)
            if selects({"matchLabels": service["spec"]["selector"]}, pod_labels(each))
        )
        assert name_of(workload) == job["job_name"]
        assert source["port"] in [p["containerPort"] for p in main_container(workload)["ports"]]
    assert {job["job_name"] for job in bundled()["scrape_configs"]} == {*WATCHED, "qdrant"}


def test_monitors_name_ports_that_pods_have() -> None:
    objects = render("cluster-operators")
    jobs = set()
    for monitor in of_kind(objects, "PodMonitor"):
        for each in workloads(objects):
            if selects(monitor["spec"]["selector"], pod_labels(each)):
                jobs.add(pod_labels(each)[monitor["spec"]["jobLabel"]])
                for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                    target(main_container(each), endpoint["port"])
    assert jobs == {*WATCHED, "qdrant"}


def test_prometheus_of_the_compose_file_finds_every_process() -> None:
    found = {}
    for job in composed()["scrape_configs"]:
        (static,) = job["static_configs"]
        assert static["labels"] == {"namespace": "realm"}
        found[job["job_name"]] = static["targets"]
    port = compose()["services"]["gateway"]["environment"]["REALM_METRICS_PORT"]
    assert found == {process: [f"{process}:{port}"] for process in WATCHED}


def test_rules_and_dashboards_name_jobs_that_every_kind_of_monitoring_has() -> None:
    texts = [each["expr"] for group in groups() for each in group["rules"]]
    texts += [path.read_text().replace('\\"', '"') for path in GRAFANA.glob("*.json")]
    named = {
        job
        for text in texts
        for alternatives in re.findall(r'\bjob=~?"([^"]+)"', text)
        for job in alternatives.split("|")
    }
    # Qdrant is watched in a cluster alone.
    assert named == {*PROCESSES, "qdrant"}


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
@pytest.mark.parametrize("config", [bundled, composed])
def test_promtool_accepts_the_configuration(config: Any, tmp_path: Path) -> None:
    """With the rules, and nothing for a secret, in a folder of this machine."""
    given = config()
    for file in RULES:
        (tmp_path / file.name).write_text(file.read_text())
    given["rule_files"] = [str(tmp_path / Path(each).name) for each in given["rule_files"]]
    for job in given["scrape_configs"]:
        if "authorization" in job:
            job["authorization"]["credentials_file"] = "/dev/null"
    (tmp_path / "config").mkdir()
    checked = tmp_path / "config" / "prometheus.yaml"
    checked.write_text(yaml.safe_dump(given))
    done = subprocess.run(
        ["promtool", "check", "config", str(checked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("rules found") == len(RULES)

"""Dockerfiles, the compose file and the manifests agree with one another and with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from realm.settings import VARIABLES, load_settings
from services.embedder.__main__ import queue_names
from tests.deploy.rendering import (
    K8S,
    PROCESSES,
    ROOT,
    compose,
    find,
    main_container,
    name_of,
    pod,
    render,
    workloads,
)
from tools.images import IMAGES, NAMES, Build, renamed
from tools.locked import locked

SERVICES = ("trainer", "embedder", "indexer", "gateway", "web")
DOCKER = ROOT / "deploy" / "docker"
BUILDERS = re.compile(r"\b(gcc|g\+\+|make|build-essential|python3-dev|apt-get|curl|wget)\b")


def lines(service: str) -> list[str]:
    """The Dockerfile's instructions, continued lines joined, comments left out."""
    text = (DOCKER / f"{service}.Dockerfile").read_text().replace("\\\n", " ")
    kept = (re.sub(r"\s+", " ", line).strip() for line in text.splitlines())
    return [line for line in kept if line and not line.startswith("#")]


def last_stage(service: str) -> list[str]:
    found = lines(service)
    start = max(number for number, line in enumerate(found) if line.startswith("FROM "))
    return found[start:]


@pytest.mark.parametrize("service", SERVICES)
def test_needs_nothing_but_the_base_and_an_index(service: str) -> None:
    text = (DOCKER / f"{service}.Dockerfile").read_text()
    assert not re.search(r"^#\s*syntax=", text, re.MULTILINE)
    origins = {line.split()[1] for line in lines(service) if line.startswith("FROM ")}
    assert origins == {"${BASE_IMAGE}", "${WHEELHOUSE}", "scratch"}
    assert "ARG WHEELHOUSE=scratch" in lines(service)
    assert not BUILDERS.search("\n".join(last_stage(service)))


@pytest.mark.parametrize("service", SERVICES)
def test_runs_as_the_user_of_the_manifests(service: str) -> None:
    (user,) = (line.split()[1] for line in last_stage(service) if line.startswith("USER "))
    for each in workloads(render("cluster")):
        if PROCESSES.get(name_of(each)) == service:
            context = pod(each)["securityContext"]
            assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
            assert context["fsGroup"] == context["runAsGroup"]
    owned = next(line for line in last_stage(service) if "install -d" in line)
    for option in ("-o", "-g"):
        assert f"{option} {user.split(':')[0]}" in owned


@pytest.mark.parametrize("service", SERVICES)
def test_starts_its_module_without_a_network_to_fetch_from(service: str) -> None:
    found = last_stage(service)
    assert f'ENTRYPOINT ["python", "-m", "services.{service}"]' in found
    assert (ROOT / "services" / service / "__main__.py").is_file()
    (environment,) = (line for line in found if line.startswith("ENV "))
    for setting in ("HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "TMPDIR=/tmp"):
        assert setting in environment


@pytest.mark.parametrize("service", SERVICES)
def test_exposes_the_ports_of_the_manifests(service: str) -> None:
    (exposed,) = (line.split()[1:] for line in last_stage(service) if line.startswith("EXPOSE "))
    kind = "StatefulSet" if service in ("trainer", "indexer") else "Deployment"
    ports = main_container(find(render("cluster"), kind, service))["ports"]
    assert {int(port) for port in exposed} == {port["containerPort"] for port in ports}


@pytest.mark.parametrize("service", SERVICES)
def test_installs_the_extra_of_its_service_alone(service: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert service in extras
    assert any(f"install.sh needs {service} " in line for line in lines(service))
    assert any(line.endswith(f"install.sh code {service}") for line in lines(service))
    copied = {line.split()[1] for line in lines(service) if line.startswith("COPY services")}
    assert copied == {"services/__init__.py", f"services/{service}"}


def test_dockerfiles_differ_in_nothing_but_their_service() -> None:
    varying = ("EXPOSE", "LABEL")
    skeletons = {
        tuple(
            line.replace(service, "<service>")
            for line in lines(service)
            if not line.startswith(varying)
        )
        for service in SERVICES
    }
    assert len(skeletons) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_copied_reaches_the_builder(service: str) -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert "*" in rules
    for line in lines(service):
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert any(source == each or source.startswith(f"{each}/") for each in kept), source
                assert (ROOT / source).exists()


def test_torch_is_the_one_that_is_pinned() -> None:
    versions = locked((ROOT / "constraints.txt").read_text(), [])
    (pinned,) = (each for each in versions if each.startswith("torch=="))
    assert f"ARG TORCH={pinned}" in lines("gateway")
    assert f"TORCH  := {pinned}" in (ROOT / "Makefile").read_text()


def test_compose_gives_settings_that_exist() -> None:
    known = VARIABLES
    for service in compose()["services"].values():
        names = {name for name in service.get("environment", {}) if name.startswith("REALM_")}
        assert names <= known


def test_compose_serves_every_queue() -> None:
    served = [
        each["environment"]["REALM_EMBEDDER_QUEUES"]
        for each in compose()["services"].values()
        if "REALM_EMBEDDER_QUEUES" in each.get("environment", {})
    ]
    assert sorted(served) == sorted(
        queue_names(load_settings(embedder_queues="realm.embed,realm.delta"))
    )


def test_compose_runs_every_process_from_its_dockerfile() -> None:
    services = compose()["services"]
    assert set(PROCESSES) <= set(services)
    for process, service in PROCESSES.items():
        each = services[process]
        assert each["image"] == f"realm/{service}"
        assert each["read_only"] is True
        if "build" in each:
            file = ROOT / "deploy" / each["build"]["context"] / each["build"]["dockerfile"]
            assert file.resolve() == DOCKER / f"{service}.Dockerfile"


def test_compose_mounts_files_that_exist() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / "deploy" / source).exists()


def test_images_of_others_are_pinned_alike_everywhere() -> None:
    images = yaml.safe_load(NAMES.read_text())["images"]
    pinned = {f"{each['newName']}:{each['newTag']}" for each in images}
    for service in compose()["services"].values():
        assert service["image"].startswith("realm/") or service["image"] in pinned


def test_registry_and_tag_are_written_in_one_place() -> None:
    text = NAMES.read_text()
    moved = yaml.safe_load(renamed(text, "other.example:5000/team", "2.0"))["images"]
    ours = {each["name"]: each for each in moved if each["name"].startswith("realm/")}
    assert {name.removeprefix("realm/") for name in ours} == {image for image, _, _ in IMAGES}
    for name, each in ours.items():
        assert each["newName"] == f"other.example:5000/team/{name.removeprefix('realm/')}"
        assert each["newTag"] == "2.0"
    others = [each for each in moved if each["name"] not in ours]
    assert others == [e for e in yaml.safe_load(text)["images"] if e["name"] not in ours]


def test_no_manifest_names_a_registry_itself() -> None:
    for path in K8S.rglob("*.yaml"):
        if path.resolve() != NAMES.resolve():
            assert not re.search(r"image: \S+\.\w+/", path.read_text()), path


def test_cuda_builds_take_torch_from_the_usual_index() -> None:
    build = Build("r.example", "1", cpu_index="https://cpu.example", wheelhouse="wheels")
    command = build.command("trainer", "trainer", "cpu")
    assert "--build-arg=TORCH_INDEX_URL=https://cpu.example" in command
    assert "--build-context=wheelhouse=wheels" in command
    assert Path(command[command.index("--file") + 1]) == Path("deploy/docker/trainer.Dockerfile")
    cuda = " ".join(build.command("trainer-cuda", "trainer", "cuda"))
    assert "TORCH_INDEX_URL" not in cuda
    assert "VARIANT=cuda" in cuda

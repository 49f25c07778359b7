"""The loop across the images, as containers, with the manifests' own words.

Needs a Docker daemon and the images that tools/test_deploy.sh builds; their names begin with
REALM_TEST_IMAGES. Redis is Debian's, and Qdrant's engine stands behind our own server where no
registry gives its image: those two are what a cluster has otherwise.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.deploy.kubelet import DOCKER, Kubelet, Running, docker
from tests.deploy.rendering import PROCESSES, ROOT, name_of, pod, render, workloads
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PREFIX = os.environ.get("REALM_TEST_IMAGES", "")
SERVICES = sorted(set(PROCESSES.values()))
DOCUMENTS = (
    ("eiffel", "Eiffel Tower", "The Eiffel Tower was built by the company of Gustave Eiffel. It"
     " opened to visitors in March 1889. The tower is made of wrought iron."),
    ("cn", "CN Tower", "The CN Tower stands in Toronto. It was completed in 1976. Railway company"
     " Canadian National built it."),
    ("tokyo", "Tokyo Skytree", "Tokyo Skytree is a broadcasting tower. It opened in May 2012."),
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    if not PREFIX:
        pytest.skip("REALM_TEST_IMAGES names no images: `make test-deploy` builds them")
    if (
        shutil.which(DOCKER) is None
        or subprocess.run([DOCKER, "info"], capture_output=True).returncode
    ):
        pytest.skip("no Docker daemon answers")
    images = {
        **{process: f"{PREFIX}{service}" for process, service in PROCESSES.items()},
        "redis": f"{PREFIX}redis",
        "qdrant": f"{PREFIX}qdrant-edge",
    }
    secrets = {
        key: uuid.uuid4().hex
        for key in ("redis-password", "qdrant-api-key", "qdrant-read-only-api-key", "service-key")
    }
    scratch = tmp_path_factory.mktemp("config-maps")
    scratch.chmod(0o755)
    kubelet = Kubelet(render("local"), images, secrets, scratch, f"realm-{uuid.uuid4().hex[:8]}")
    with kubelet.at_work():
        yield kubelet


@pytest.fixture(scope="module")
def running(cluster: Kubelet) -> dict[str, Running]:
    """Every process of the overlay, started in no particular order, as a cluster does."""
    serve = ["python", "-m", "services.standalone.qdrant_edge", "--folder", "/qdrant/storage"]
    found = {
        "qdrant": cluster.start("StatefulSet", "qdrant", command=[*serve, "--host", "0.0.0.0"]),
        "redis": cluster.start("StatefulSet", "redis"),
    }
    for each in workloads(cluster.objects):
        if name_of(each) in PROCESSES:
            replicas = range(each["spec"]["replicas"])
            started = [cluster.start(each["kind"], name_of(each), replica) for replica in replicas]
            found[name_of(each)] = started[0]
            found |= {f"{name_of(each)}-{n}": one for n, one in enumerate(started[1:], 1)}
    for name, container in found.items():
        if name != "qdrant":  # our server for its engine has no HTTP side to probe
            container.start_up()
    scopes = ("--scope", "ask", "--scope", "write", "--scope", "operate")
    key = docker("exec", found["gateway"].name, "realm", "keys", "create", "test", *scopes)
    cluster.client |= {"REALM_API_KEY": key, "REALM_INSECURE": "true"}
    return found


def realm(cluster: Kubelet, *words: str, mount: Path | None = None, at: str = "gateway") -> str:
    """What the command line prints in a container beside the pods."""
    command = ["realm", *words, "--address", f"{at}:50051"]
    return cluster.call(cluster.images["gateway"], *command, mount=mount)


def put(
    cluster: Kubelet, documents: Sequence[tuple[str, str, str]], folder: Path, at: str = "gateway"
) -> None:
    """Imports documents given as (id, title, text)."""
    lines = (json.dumps({"id": i, "title": title, "text": text}) for i, title, text in documents)
    file = folder / "documents.jsonl"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o644)
    folder.chmod(0o755)
    realm(cluster, "corpus", "import", "/given/documents.jsonl", mount=folder, at=at)


def test_documents_in_a_refresh_an_answer_out(
    cluster: Kubelet, running: dict[str, Running], tmp_path: Path
) -> None:
    put(cluster, DOCUMENTS, tmp_path, at="gateway-import")
    running["gateway"].await_probe("readinessProbe")
    first = json.loads(realm(cluster, "ask", "--json", "In which year did the Eiffel Tower open?"))
    assert first["answers"][0]["text"] in {"1889", "March 1889", "in March 1889"}
    realm(cluster, "refresh", "--wait", "--patience", "240")
    second = json.loads(realm(cluster, "ask", "--json", "In which year did the Eiffel Tower open?"))
    versions = [each["index_version"] for each in (first, second)]
    assert int(versions[1]["generation"]) > int(versions[0]["generation"])


def test_every_process_passes_its_probes(running: dict[str, Running]) -> None:
    for name, container in running.items():
        if name != "qdrant":
            container.await_probe("readinessProbe")
            container.await_probe("livenessProbe")


def test_runs_as_the_given_user_with_a_read_only_root_and_no_way_out(
    running: dict[str, Running],
) -> None:
    for name, container in running.items():
        user = str(pod(container.workload)["securityContext"]["runAsUser"])
        assert docker("exec", container.name, "id", "-u") == user
        for words in ("touch /written", "touch /usr/written"):
            shell = [DOCKER, "exec", container.name, "sh", "-c", words]
            assert subprocess.run(shell, capture_output=True).returncode != 0, f"{name}: {words}"
        dial = "import socket; socket.create_connection(('192.0.2.1', 443), 2)"
        if name != "redis":
            reach = [DOCKER, "exec", container.name, "python", "-c", dial]
            assert subprocess.run(reach, capture_output=True).returncode != 0


def test_a_rolling_restart_of_gateways_under_load_fails_no_request(
    cluster: Kubelet, running: dict[str, Running]
) -> None:
    """As the Deployment says: one more, ready for minReadySeconds, then one fewer."""
    rest = running["gateway"].workload["spec"]["minReadySeconds"]
    serving = [running["gateway"], cluster.start("Deployment", "gateway", 1)]
    serving[1].await_probe("readinessProbe")
    ask = ["python", "/given/asker.py", "dns:///gateway-headless:50051", "4"]
    with cluster.calling(cluster.images["gateway"], *ask, mount=Path(__file__).parent) as said:
        for replica in (2, 3):
            fresh = cluster.start("Deployment", "gateway", replica)
            fresh.await_probe("readinessProbe")
            time.sleep(rest)
            assert serving.pop(0).stop() == 0
            serving.append(fresh)
        time.sleep(rest)
    report = json.loads(said[0])
    assert report["failed"] == []
    assert report["asked"] > 100
    running["gateway"] = serving[0]


@pytest.fixture(scope="module")
def own_images(cluster: Kubelet) -> list[str]:
    """Services whose images their own Dockerfiles made. Where the index offers PyTorch for CUDA
    alone, one image stands for those that hold it."""
    standing = docker("images", "--quiet", f"{PREFIX}torch")
    return ["indexer"] if standing else SERVICES


LOOK = """
import importlib.metadata, pathlib, re, shutil
tools = ("gcc", "g++", "cc", "c++", "clang", "ld", "as", "make", "nvcc", "protoc", "pip")
print([each for each in tools if shutil.which(each)])
names = [each.metadata["Name"].lower() for each in importlib.metadata.distributions()]
print([each for each in names if re.match("nvidia|cuda|triton|pip$|setuptools$", each)])
files = [each.name for each in pathlib.Path("/opt/realm").rglob("*")]
print([each for each in files if re.match("protoc(-|$)|lib(torch_)?cud|libnv|libnccl", each)])
"""


def test_images_hold_no_cuda_no_compiler_and_no_installer(own_images: list[str]) -> None:
    for service in own_images:
        image = f"{PREFIX}{service}"
        found = docker("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", LOOK)
        assert found.splitlines() == ["[]", "[]", "[]"], f"{image}: {found}"


def test_images_are_as_large_as_the_page_says(own_images: list[str]) -> None:
    page = (ROOT / "docs" / "install.md").read_text()
    for service in own_images:
        said = re.search(rf"(?m)^\| {service} \| ([\d.]+) GB \|", page)
        assert said, f"docs/install.md does not say how large the image {service} is"
        size = docker("image", "inspect", "--format={{.Size}}", f"{PREFIX}{service}")
        assert int(size) / 1e9 == pytest.approx(float(said[1]), rel=0.1), service


def test_a_killed_process_comes_back_to_the_same_state(
    cluster: Kubelet, running: dict[str, Running], tmp_path: Path
) -> None:
    """Redis loses nothing that matters, the indexer goes on from the store alone."""
    before = json.loads(realm(cluster, "status", "--json"))
    for name in ("redis", "indexer"):
        docker("kill", running[name].name)
        docker("start", running[name].name)
    until(lambda: running["indexer"].passes("readinessProbe"), "the indexer is back", 120)
    after = json.loads(realm(cluster, "status", "--json"))
    assert after["live"]["generation"] >= before["live"]["generation"]
    put(cluster, [("burj", "Burj Khalifa", "The Burj Khalifa opened in January 2010.")], tmp_path)
    search = ("search", "When did the Burj Khalifa open?", "--json")
    until(lambda: "January 2010" in realm(cluster, *search), "a write can be found", 120)

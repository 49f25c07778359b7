"""A cluster without machines: etcd, API server, controllers and scheduler, and nodes in name only.

What a kubelet would say of its pods is said for it, so that controllers go on. Nothing runs.
Needs a folder with Kubernetes' programs, as `python -m tools.cluster programs` makes it;
REALM_TEST_KUBE_BIN names it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.deploy.rendering import NAME_LABEL, Object
from tests.ports import free_port
from tests.waiting import until

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
SECONDS = 180
PAUSE_SECONDS = 0.2
DAY = "24h"
DEFAULT_CLASS = {"storageclass.kubernetes.io/is-default-class": "true"}
GPU = "nvidia.com/gpu"


def programs() -> dict[str, str]:
    """The path of each; the test is skipped where one is absent."""
    folder = os.environ.get("REALM_TEST_KUBE_BIN")
    found = {each: shutil.which(each, path=folder) for each in PROGRAMS}
    if absent := [each for each, path in found.items() if path is None]:
        pytest.skip(f"no {', '.join(absent)}: REALM_TEST_KUBE_BIN names their folder")
    return {each: str(path) for each, path in found.items()}


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Asked as its administrator: by kubectl for what a user does, by `call` for the rest."""

    address: str
    token: str
    folder: Path
    #: Names of workloads whose pods never get ready.
    failing: set[str] = field(default_factory=set)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def authority(self) -> Path:
        """It signs its own certificate."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def environment(self) -> dict[str, str]:
        kubeconfig, home = str(self.kubeconfig), str(self.folder)
        path = f"{os.environ['REALM_TEST_KUBE_BIN']}:{os.environ['PATH']}"
        return {"PATH": path, "KUBECONFIG": kubeconfig, "HOME": home}

    def kubectl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", *words],
            capture_output=True, text=True, timeout=SECONDS, check=False, env=self.environment,
        )  # fmt: skip
        said = done.stderr[-2000:]
        assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {said}"
        return done

    def call(self, method: str, path: str, body: Object | None = None) -> tuple[int, Object]:
        """The status code and what was said. What is patched is merged."""
        kind = "strategic-merge-patch+json" if method == "PATCH" else "json"
        request = urllib.request.Request(
            self.address + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": f"application/{kind}",
            },
        )
        trust = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def written(self, objects: list[Object]) -> str:
        """kubectl's option that names a file of them."""
        file = self.folder / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        return f"--filename={file}"

    def items(self, path: str) -> list[Object]:
        code, found = self.call("GET", path)
        assert code == 200, found
        return list(found["items"])

    def create(self, path: str, body: Object) -> None:
        code, said = self.call("POST", path, body)
        assert code == 201, said

    def pods(self, namespace: str = "realm") -> list[Object]:
        return self.items(f"/api/v1/namespaces/{namespace}/pods")

    def add_node(self, name: str, zone: str, cpu: int, memory: str, gpus: int = 0) -> None:
        """A node as its kubelet registers it; one with GPUs keeps others away, as is usual.

        :param zone: what its label says; empty: it has none, as on bare metal.
        """
        has: dict[str, str] = {"cpu": str(cpu), "memory": memory, "pods": "110"}
        has["ephemeral-storage"] = "100Gi"
        has |= {GPU: str(gpus)} if gpus else {}
        labels = {"kubernetes.io/hostname": name}
        labels |= {"topology.kubernetes.io/zone": zone} if zone else {}
        taints = [{"key": GPU, "value": "present", "effect": "NoSchedule"}] if gpus else []
        body: Object = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"taints": taints},
            "status": {"capacity": has, "allocatable": has, "conditions": [_condition("Ready")]},
        }
        self.create("/api/v1/nodes", body)

    def add_volumes(self, number: int, provisioner: str = "nfs.csi.k8s.io") -> None:
        """A default class and volumes of it, made by hand: no provisioner is at work."""
        body: Object = {
            "metadata": {"name": "shared", "annotations": DEFAULT_CLASS},
            "provisioner": provisioner,
        }
        self.create("/apis/storage.k8s.io/v1/storageclasses", body)
        for each in range(number):
            spec = {
                "storageClassName": "shared",
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                "nfs": {"server": "192.0.2.1", "path": f"/{each}"},
            }
            body = {"metadata": {"name": f"volume-{each}"}, "spec": spec}
            self.create("/api/v1/persistentvolumes", body)

    def end_job(self, pod: Object) -> None:
        self._say_of(pod, {"phase": "Succeeded"})

    def speak_for_kubelets(self) -> None:
        """Once: pods that were given a node run and are ready, those that were deleted are gone."""
        for pod in self.items("/api/v1/pods"):
            if "deletionTimestamp" in pod["metadata"]:
                self.call("DELETE", _path(pod), {"gracePeriodSeconds": 0})
            elif (
                pod["spec"].get("nodeName")
                and pod["spec"]["restartPolicy"] == "Always"
                and pod["status"]["phase"] == "Pending"
                and pod["metadata"].get("labels", {}).get(NAME_LABEL) not in self.failing
            ):
                kinds = ("Initialized", "ContainersReady", "Ready")
                self._say_of(
                    pod, {"phase": "Running", "conditions": [_condition(each) for each in kinds]}
                )

    def _say_of(self, pod: Object, status: Object) -> None:
        self.call("PATCH", f"{_path(pod)}/status", {"status": status})


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _condition(kind: str) -> dict[str, str]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": kind, "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """A cluster without a node, which nobody but its administrator may ask."""
    paths = programs()
    client, peer, port = (free_port() for _ in range(3))
    server = ApiServer(f"https://127.0.0.1:{port}", secrets.token_hex(), folder)
    _write_credentials(server)
    with ExitStack() as stack:

        def start(program: str, *options: str) -> None:
            stack.enter_context(_running(paths[program], folder / f"{program}.log", *options))

        start(
            "etcd", f"--data-dir={folder / 'etcd'}", *_addresses("client", client),
            *_addresses("peer", peer), f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )  # fmt: skip
        start(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}",
            "--bind-address=127.0.0.1", f"--secure-port={port}",
            f"--cert-dir={server.authority.parent}", f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--endpoint-reconciler-type=none",
        )  # fmt: skip
        _await(lambda: server.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
        asks = [f"--kubeconfig={server.kubeconfig}", "--leader-elect=false", "--secure-port=0"]
        start(
            "kube-controller-manager", *asks, "--use-service-account-credentials",
            f"--root-ca-file={server.authority}",
            f"--service-account-private-key-file={folder / 'accounts.key'}",
            # No kubelet says that its node is still there.
            f"--node-monitor-grace-period={DAY}",
        )  # fmt: skip
        start("kube-scheduler", *asks)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        _await(lambda: server.call("GET", account)[0] == 200)
        stack.enter_context(_kubelets(server))
        yield server


def _await(true: Callable[[], bool]) -> None:
    until(true, "the API server and its controllers are at work", SECONDS)


@contextmanager
def _kubelets(server: ApiServer) -> Iterator[None]:
    over = threading.Event()

    def speak() -> None:
        while not over.wait(PAUSE_SECONDS):
            server.speak_for_kubelets()

    thread = threading.Thread(target=speak, name="kubelets")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


@contextmanager
def _running(program: str, log: Path, *options: str) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen([program, *options], stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _write_credentials(server: ApiServer) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    server.folder.joinpath("accounts.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    server.folder.joinpath("tokens.csv").write_text(
        f'{server.token},admin,admin,"system:masters"\n'
    )
    cluster = {"server": server.address, "certificate-authority": str(server.authority)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": server.token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    server.kubeconfig.write_text(yaml.safe_dump(config))


def _addresses(name: str, port: int) -> tuple[str, str]:
    """etcd's words for where it listens and how it is reached."""
    reached = "advertise" if name == "client" else "initial-advertise"
    url = f"http://127.0.0.1:{port}"
    return f"--listen-{name}-urls={url}", f"--{reached}-{name}-urls={url}"

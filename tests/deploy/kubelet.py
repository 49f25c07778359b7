"""A rendered pod run by Docker as a kubelet would run it: user, read-only root, volumes, probes.

What Docker cannot be told is said where it matters; nothing of a manifest is silently changed.
"""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.rendering import (
    Object,
    containers,
    environment,
    find,
    main_container,
    name_of,
    of_kind,
    pod,
    pod_labels,
    selects,
    target,
)

DOCKER = os.environ.get("REALM_TEST_DOCKER", "docker")
COMMAND_SECONDS = 120
#: The least that a probe may take: here all pods share the cores that each has in a cluster.
PATIENCE_SECONDS = 300
PAUSE_SECONDS = 0.5


def docker(*arguments: str, seconds: float = COMMAND_SECONDS, check: bool = True) -> str:
    """What a docker command prints on standard output."""
    done = subprocess.run(
        [DOCKER, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Running:
    """A pod's main container, by its name."""

    name: str
    workload: Object

    @property
    def address(self) -> str:
        """On the pods' network, its only one; another after each start."""
        each = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", each, self.name)

    @property
    def logs(self) -> str:
        done = subprocess.run(
            [DOCKER, "logs", "--tail", "60", self.name], capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def passes(self, probe: str) -> bool:
        """One go of startupProbe, readinessProbe or livenessProbe; true if there is none."""
        container = main_container(self.workload)
        wanted = container.get(probe)
        if wanted is None:
            return True
        seconds = float(wanted.get("timeoutSeconds", 1))
        if "grpc" in wanted:
            address = f"{self.address}:{target(container, wanted['grpc']['port'])}"
            return _grpc_healthy(address, wanted["grpc"].get("service", ""), seconds)
        if "httpGet" in wanted:
            port = target(container, wanted["httpGet"]["port"])
            return _http_healthy(
                f"http://{self.address}:{port}{wanted['httpGet']['path']}", seconds
            )
        command = [DOCKER, "exec", self.name, *wanted["exec"]["command"]]
        try:
            return subprocess.run(command, capture_output=True, timeout=seconds + 5).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def await_probe(self, probe: str) -> None:
        """Until it passes, within what the manifest allows a container to take."""
        wanted = main_container(self.workload)[probe]
        seconds = wanted.get("periodSeconds", 10) * wanted.get("failureThreshold", 3)
        deadline = time.monotonic() + max(seconds, PATIENCE_SECONDS)
        while not self.passes(probe):
            state = docker("inspect", "--format", "{{.State.Status}}", self.name)
            assert state == "running", f"{self.name} ended:\n{self.logs}"
            assert time.monotonic() < deadline, f"{self.name} fails its {probe}:\n{self.logs}"
            time.sleep(PAUSE_SECONDS)

    def start_up(self) -> None:
        self.await_probe("startupProbe")
        self.await_probe("livenessProbe")

    def stop(self) -> int:
        """As a pod ends: preStop, SIGTERM, the grace period. Returns the exit code."""
        spec = pod(self.workload)
        hook = main_container(self.workload).get("lifecycle", {}).get("preStop", {})
        waits = int(hook.get("sleep", {}).get("seconds", 0))
        time.sleep(waits)
        grace = int(spec.get("terminationGracePeriodSeconds", 30)) - waits
        docker("stop", "--time", str(grace), self.name, seconds=grace + COMMAND_SECONDS)
        return int(docker("inspect", "--format", "{{.State.ExitCode}}", self.name))


@dataclass
class Kubelet:
    """Runs pods of one overlay on a network that reaches nothing but them.

    :param images: which image stands for a container's, by workload.
    :param secrets: values of the Secret's keys.
    :param client: the environment of clients.
    """

    objects: list[Object]
    images: dict[str, str]
    secrets: dict[str, str]
    scratch: Path
    prefix: str
    started: list[str] = field(default_factory=list)
    client: dict[str, str] = field(default_factory=dict)

    @property
    def network(self) -> str:
        return f"{self.prefix}-pods"

    @contextmanager
    def at_work(self) -> Iterator[Kubelet]:
        docker("network", "create", "--internal", self.network)
        try:
            yield self
        finally:
            for name in self.started:
                docker("rm", "--force", "--volumes", name, check=False)
            docker("network", "rm", self.network, check=False)
            for volume in docker(
                "volume", "ls", "--quiet", "--filter", f"name={self.prefix}-"
            ).split():
                docker("volume", "rm", "--force", volume, check=False)

    def start(
        self, kind: str, workload: str, replica: int = 0, command: list[str] | None = None
    ) -> Running:
        """Runs the pod's init containers to their end, then its main container.

        :param command: in place of the manifest's, where another program stands for the image.
        """
        found = find(self.objects, kind, workload)
        name = f"{self.prefix}-{workload}-{replica}"
        image = self.images[workload]
        for number, container in enumerate(containers(found)[:-1]):
            options = self._options(found, container, name)
            words = _command(container)
            init = f"{name}-init-{number}"
            self.started.append(init)
            docker("run", "--name", init, "--network", self.network, *options, *_run(image, words))
        main = main_container(found)
        options = [*self._options(found, main, name), *self._aliases(found)]
        words = _command(main) if command is None else command
        self.started.append(name)
        docker(
            "run", "--detach", "--name", name, "--hostname", name, "--network", self.network,
            *options, *_run(image, words),
        )  # fmt: skip
        return Running(name, found)

    def call(self, image: str, *words: str, mount: Path | None = None, seconds: float = 300) -> str:
        """What a client in a container of its own prints; it sees the pods' names."""
        return docker("run", "--rm", *self._client(image, words, mount), seconds=seconds)

    @contextmanager
    def calling(self, image: str, *words: str, mount: Path | None = None) -> Iterator[list[str]]:
        """A client at work meanwhile. It ends by SIGTERM, then the list holds what it printed."""
        name = f"{self.prefix}-client"
        self.started.append(name)
        docker("run", "--detach", "--name", name, *self._client(image, words, mount))
        said: list[str] = []
        yield said
        docker("stop", "--time", str(COMMAND_SECONDS), name, seconds=2 * COMMAND_SECONDS)
        said.append(docker("logs", name))

    def _client(self, image: str, words: Sequence[str], mount: Path | None) -> list[str]:
        mounts = ["--volume", f"{mount}:/given:ro"] if mount else []
        alone = ["--network", self.network, "--read-only", "--tmpfs", "/tmp", *mounts]
        given = [f"--env={name}={value}" for name, value in self.client.items()]
        return [*alone, *given, *_run(image, list(words))]

    def _aliases(self, workload: Object) -> list[str]:
        """Every Service that selects the pod gives it a name."""
        labels = pod_labels(workload)
        services = (
            name_of(each)
            for each in of_kind(self.objects, "Service")
            if selects({"matchLabels": each["spec"]["selector"]}, labels)
        )
        return [f"--network-alias={name}" for name in services]

    def _options(self, workload: Object, container: Object, name: str) -> list[str]:
        spec, context = pod(workload), container["securityContext"]
        owner = spec["securityContext"]
        user, group = owner["runAsUser"], owner.get("fsGroup", owner["runAsGroup"])
        limits = container["resources"]["limits"]
        options = [
            f"--user={user}:{owner['runAsGroup']}",
            f"--group-add={group}",
            f"--memory={limits['memory'].replace('Gi', 'g').replace('Mi', 'm')}",
            *(f"--cap-drop={each}" for each in context["capabilities"]["drop"]),
            *(["--read-only"] if context["readOnlyRootFilesystem"] else []),
            *([] if context["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]),
        ]
        # Docker gives addresses as late as a kubelet does; the container's name is as good.
        known = {**self.secrets, "status.podIP": name}
        for variable, value in environment(self.objects, container).items():
            for key, told in known.items():
                value = value.replace(f"<{key}>", told)
            options.append(f"--env={variable}={value}")
        for mount in container["volumeMounts"]:
            options += self._volume(workload, mount, group)
        return options

    def _volume(self, workload: Object, mount: Object, group: int) -> list[str]:
        spec, path = pod(workload), mount["mountPath"]
        volume = next((v for v in spec.get("volumes", []) if v["name"] == mount["name"]), None)
        if volume is None:  # a claim of the StatefulSet's own
            own = self._claim(f"{name_of(workload)}-{mount['name']}", group)
            return [f"--volume={own}:{path}"]
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            return [f"--volume={self._claim(claim, group)}:{path}"]
        if "configMap" in volume:
            return [f"--volume={self._config(volume['configMap']['name'])}:{path}:ro"]
        return [f"--tmpfs={path}:exec,mode=2777,gid={group}"]

    def _claim(self, name: str, group: int) -> str:
        """A volume that belongs to the pod's group, as fsGroup makes it."""
        volume = f"{self.prefix}-{name}"
        if not docker("volume", "ls", "--quiet", "--filter", f"name=^{volume}$"):
            docker("volume", "create", volume)
            docker(
                "run", "--rm", "--user=0:0", f"--volume={volume}:/claim", "--entrypoint=sh",
                next(iter(self.images.values())), "-c",
                f"chgrp {group} /claim && chmod 2775 /claim",
            )  # fmt: skip
        return volume

    def _config(self, name: str) -> Path:
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        for key, text in find(self.objects, "ConfigMap", name)["data"].items():
            (folder / key).write_text(text)
        return folder


def _command(container: Object) -> list[str]:
    return [*container.get("command", []), *container.get("args", [])]


def _run(image: str, words: list[str]) -> list[str]:
    """An image's own entry point stays where the manifest names no command."""
    if not words:
        return [image]
    return [f"--entrypoint={words[0]}", image, *words[1:]]


def _grpc_healthy(address: str, service: str, seconds: float) -> bool:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=seconds)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _http_healthy(url: str, seconds: float) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return bool(answer.status < 400)
    except (urllib.error.URLError, OSError):
        return False

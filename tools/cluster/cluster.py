"""The cluster at work: its processes, and kubectl as its administrator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import certificates, network, node_images, plane
from tools.cluster.layout import HERE, PREFIX, SERVICES, Layout
from tools.cluster.processes import (
    CommandFailed,
    await_true,
    end_all,
    inside,
    make_groups,
    run,
    start,
)

VOLUMES = 12
READY_SECONDS = 180
#: How much is shown of each, where a step fails.
LOG_CHARACTERS, PODS_CHARACTERS = 1500, 6000
#: What makes a node a machine: mounts, host name, processes of its own.
MACHINE = (
    "unshare", "--mount", "--propagation", "private", "--uts", "--ipc", "--pid", "--fork",
    "--mount-proc", "--kill-child=SIGKILL",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cluster:
    """A control plane, and nodes node1, node2, …, without labels of zones."""

    layout: Layout
    nodes: range = range(1, 3)

    def start(self) -> None:
        """Until nodes are ready and names are resolved.

        :raises CommandFailed: if they are not in time.
        """
        layout = self.layout
        for folder in (layout.certificates, layout.logs, layout.volumes):
            folder.mkdir(parents=True, exist_ok=True)
        make_groups("programs", *(f"node{number}" for number in self.nodes))
        certificates.make(layout, self.nodes)
        network.make(self.nodes)
        plane.start_api_server(layout)
        self._await("get", "--raw", "/readyz")
        plane.start_controllers(layout)
        for number in self.nodes:
            self._start_node(number)
        for node in self.node_names:
            self._await("get", "node", node)
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=120s")
        self.apply(layout.configuration("dns.yaml"), *self._volumes())
        self.kubectl("rollout", "status", "deployment/coredns", "-n", "kube-system")

    @property
    def node_names(self) -> list[str]:
        return [f"node{number}" for number in self.nodes]

    def kubectl(self, *words: str | Path, seconds: float = READY_SECONDS, text: str = "") -> str:
        """What it prints; it runs in the control plane's network.

        :raises CommandFailed: if it fails, or takes longer.
        """
        layout = self.layout
        options = (f"--kubeconfig={layout.kubeconfig}", f"--cache-dir={layout.run / 'kubectl'}")
        command = (layout.programs / "kubectl", *options, *words)
        return run(*inside("plane"), *command, seconds=seconds, text=text)

    def objects(self, *words: str) -> list[dict[str, Any]]:
        """What `kubectl get` finds."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *words, "-o", "json"))["items"]
        return found

    def apply(self, *documents: str) -> None:
        self.kubectl("apply", "--filename=-", text="\n---\n".join(documents))

    def describe(self) -> str:
        """Pods and nodes, the last warnings, and the last lines of whoever is not well."""
        told = [
            self._say("get", "nodes,pods", "--all-namespaces", "--output=wide"),
            self._say("get", "events", "--all-namespaces", "--field-selector=type=Warning",
                      "--sort-by=.lastTimestamp"),
        ]  # fmt: skip
        with suppress(CommandFailed):
            for pod in self.objects("pods", "--all-namespaces"):
                if not _is_well(pod):
                    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
                    words = ("logs", name, "-n", namespace, "--all-containers", "--tail=40")
                    told.append(f"{namespace}/{name}:\n{self._say(*words)}")
        for log in sorted(self.layout.logs.glob("*.log")):
            told.append(f"{log.name}:\n{log.read_text(errors='replace')[-LOG_CHARACTERS:]}")
        return "\n\n".join(told)

    def _say(self, *words: str) -> str:
        try:
            return self.kubectl(*words)[-PODS_CHARACTERS:]
        except CommandFailed as error:
            return str(error)

    def _await(self, *words: str) -> None:
        await_true(lambda: self.kubectl(*words), f"kubectl {' '.join(words)}", READY_SECONDS)

    def _start_node(self, number: int) -> None:
        layout, own = self.layout, self.layout.node(number)
        own.mkdir()
        node_images.copy_to(own, layout)
        filled = {"node": number, "group": f"{PREFIX}/node{number}"}
        for name in ("containerd.toml", "kubelet.yaml", "kube-proxy.yaml"):
            (own / name).write_text(layout.configuration(name, **filled))
        networks = own / "etc" / "cni" / "net.d"
        networks.mkdir(parents=True)
        (networks / "pods.conflist").write_text(layout.configuration("cni.conflist", **filled))
        folders = (own, layout.programs, layout.certificates, layout.logs)
        script = ("sh", HERE / "node.sh", str(number), *folders, SERVICES)
        start(f"node{number}", [*inside(f"node{number}"), *MACHINE, *script], layout.logs)

    def _volumes(self) -> Iterator[str]:
        """A default class, and volumes made beforehand: no provisioner is at work."""
        yield self.layout.configuration("class.yaml")
        for number in range(VOLUMES):
            folder = self.layout.volumes / f"v{number}"
            folder.mkdir(parents=True)
            yield self.layout.configuration("volume.yaml", name=f"v{number}", folder=folder)


def _is_well(pod: dict[str, Any]) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return pod["status"].get("phase") == "Succeeded" or conditions.get("Ready") == "True"


def clear(layout: Layout) -> None:
    """Ends and removes what a former run left, but for what is kept for the next."""
    end_all()
    shutil.rmtree(layout.run, ignore_errors=True)
    layout.logs.mkdir(parents=True)

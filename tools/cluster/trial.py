"""What is tried with the overlay `local`: each step begins where the last one ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.cluster import node_images
from tools.cluster.cluster import Cluster
from tools.cluster.layout import ROOT
from tools.cluster.processes import await_true, run
from tools.cluster.steps import Step, StepFailed

OVERLAY = ROOT / "deploy" / "k8s" / "overlays" / "local"
ASKER = ROOT / "tests" / "deploy" / "asker.py"
NAME_LABEL = "app.kubernetes.io/name"
DOCUMENTS = (
    ("eiffel", "The Eiffel Tower opened to visitors in March 1889. It is made of wrought iron."),
    ("cn", "The CN Tower stands in Toronto. It was completed in 1976."),
    ("tokyo", "Tokyo Skytree is a broadcasting tower. It opened in May 2012."),
)
QUESTION, ANSWER = "When did the Eiffel Tower open?", "1889"
#: Written while the cluster is at work; and after the backup, which must not know of it.
WRITTEN = ("burj", "The Burj Khalifa opened in January 2010.")
LATER = ("shard", "The Shard opened in February 2013.")
SCOPES = ("ask", "write", "operate")
#: Says whether a gateway is reached; a policy drops packets or refuses them.
DIAL = """
import socket
try:
    socket.create_connection(("gateway.realm", 50051), 5)
    print("in")
except (ConnectionRefusedError, TimeoutError):
    print("out")
"""
MINUTES = 60.0
#: The fewest questions that say something.
ENOUGH = 50


class Trial:
    """The steps share the cluster, and the backup that one makes and another puts back."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._backup = cluster.layout.run / "backup"
        self._image = node_images.references()["gateway"]

    @property
    def steps(self) -> list[Step]:
        return [
            ("overlays/local applied, all pods run", self.apply),
            ("documents imported, the answer comes through the Service", self.import_documents),
            ("policies: a namespace with the label is let in, another is not", self.try_policies),
            ("a refresh", self.refresh),
            ("a second gateway, on the other node, which carries no label of a zone", self.spread),
            ("gateways rolled under load", self.roll_gateways),
            ("the indexer's pod killed under load", self.kill_indexer),
            ("a node drained under load", self.drain),
            ("a backup of the store", self.back_up),
            ("all else lost, restored from the store alone", self.restore),
            ("all taken away", self.remove),
        ]

    def apply(self) -> str:
        self._cluster.kubectl("apply", "--kustomize", OVERLAY)
        self._await_running()
        pods = self._pods()
        return f"{len(pods)} pods"

    def import_documents(self) -> str:
        node = self._pods("qdrant")[0]["spec"]["nodeName"]
        scopes = [word for scope in SCOPES for word in ("--scope", scope)]
        create = ("realm", "keys", "create", "trial", *scopes)
        key = self._exec("deployment/gateway", *create, options=("-n", "realm", "-c", "realm"))
        for namespace, may in (("shop", "true"), ("stranger", "false")):
            values = {"node": node, "image": self._image, "key": key.strip()}
            file = self._cluster.layout.configuration(
                "clients.yaml", namespace=namespace, may=may, **values
            )
            self._cluster.apply(file)
            self._wait("pod/client", "Ready", namespace)
        await_true(lambda: self._write(*DOCUMENTS), "documents are taken", 3 * MINUTES)
        self._realm_rollout("deployment/gateway")
        answers = json.loads(self._realm("ask", "--json", QUESTION))["answers"]
        if not answers or ANSWER not in answers[0]["text"]:
            raise StepFailed(f"{QUESTION} {answers}")
        return f"{QUESTION} {answers[0]['text']}"

    def try_policies(self) -> str:
        found = {
            namespace: self._exec("client", "python", "-c", DIAL, options=("-n", namespace)).strip()
            for namespace in ("shop", "stranger")
        }
        if found != {"shop": "in", "stranger": "out"}:
            raise StepFailed(f"who reaches a gateway: {found}")
        return ""

    def refresh(self) -> str:
        before = self._generation()
        self._realm("refresh", "--wait", "--patience", "240")
        after = self._generation()
        if after <= before:
            raise StepFailed(f"generation {after} is live, as before")
        return f"generation {after} after {before}"

    def spread(self) -> str:
        self._cluster.kubectl("scale", "deployment/gateway", "--replicas=2", "-n", "realm")
        self._realm_rollout("deployment/gateway")
        return self._gateways_are_apart()

    def roll_gateways(self) -> str:
        """Onto nodes with labels of zones, which the ones before did not have."""
        for number, node in enumerate(self._cluster.node_names):
            label = f"topology.kubernetes.io/zone=zone-{number}"
            self._cluster.kubectl("label", "node", node, label)
        with self._under_load() as reports:
            self._cluster.kubectl("rollout", "restart", "deployment/gateway", "-n", "realm")
            self._realm_rollout("deployment/gateway")
        return f"{count_failures(reports)}; {self._gateways_are_apart()}"

    def kill_indexer(self) -> str:
        with self._under_load() as reports:
            kill = ("--grace-period=0", "--force")
            self._cluster.kubectl("delete", "pod", "indexer-0", "-n", "realm", *kill)
            await_true(lambda: self._write(WRITTEN), "a write is taken", 3 * MINUTES)
            await_true(lambda: self._finds(WRITTEN), "the write is found", 3 * MINUTES)
        return count_failures(reports)

    def drain(self) -> str:
        """The one where Qdrant is not: there is one peer of it alone."""
        stays = self._pods("qdrant")[0]["spec"]["nodeName"]
        (node,) = (each for each in self._cluster.node_names if each != stays)
        options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=240s")
        with self._under_load() as reports:
            self._cluster.kubectl("drain", node, *options, seconds=5 * MINUTES)
            self._cluster.kubectl("uncordon", node)
            self._await_running()
            for each in ("deployment/gateway", "deployment/embedder", "statefulset/indexer"):
                self._realm_rollout(each)
        return count_failures(reports)

    def back_up(self) -> str:
        """A copy of the volume, while nobody writes there, as docs/install.md has it."""
        self._realm("pause")
        self._scale({"statefulset/indexer": 0, "statefulset/trainer": 0})
        self._backup.mkdir()
        run("cp", "--archive", f"{self._store()}/.", self._backup)
        self._scale({"statefulset/indexer": 1, "statefulset/trainer": 1})
        await_true(lambda: self._realm("resume"), "refreshes go on", 3 * MINUTES)
        await_true(lambda: self._write(LATER), "a write is taken", 3 * MINUTES)
        size = sum(each.stat().st_size for each in self._backup.rglob("*") if each.is_file())
        return f"{size / 1e6:.0f} MB"

    def restore(self) -> str:
        """Everybody down, Qdrant's and Redis' claims gone, the store as it was, everybody up."""
        before = {
            f"{each['kind'].lower()}/{each['metadata']['name']}": each["spec"]["replicas"]
            for each in self._cluster.objects("deployments,statefulsets", "-n", "realm")
        }
        self._scale(dict.fromkeys(before, 0))
        store = self._store()
        self._cluster.kubectl("delete", "pvc", "data-qdrant-0", "data-redis-0", "-n", "realm")
        run("find", store, "-mindepth", "1", "-delete")
        run("cp", "--archive", f"{self._backup}/.", store)
        self._scale(before)
        self._realm_rollout("deployment/gateway")
        self._realm("resume")  # the backup was made while refreshes paused
        held = (DOCUMENTS[0], WRITTEN)
        await_true(lambda: all(map(self._finds, held)), "documents are found", 3 * MINUTES)
        if self._finds(LATER):
            raise StepFailed("a write that the backup does not hold is found")
        return "what was written before is found, what was written after is not"

    def remove(self) -> str:
        options = ("--ignore-not-found",)  # the job make-secrets removes itself
        self._cluster.kubectl("delete", "--kustomize", OVERLAY, *options, seconds=5 * MINUTES)
        kinds = ("--verbs=list", "--output=name")
        found = self._cluster.kubectl("api-resources", *kinds).split()
        selector = ("--all-namespaces", "--selector=app.kubernetes.io/part-of=realm")
        left = self._cluster.kubectl("get", ",".join(found), *selector, "--output=name")
        if left:
            raise StepFailed(f"left: {left}")
        return "nothing is left"

    def _pods(self, name: str = "") -> list[dict[str, Any]]:
        """Those that are not on their way out."""
        chosen = ("--selector", f"{NAME_LABEL}={name}") if name else ()
        found = self._cluster.objects("pods", "-n", "realm", *chosen)
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def _await_running(self) -> None:
        def running() -> bool:
            phases = {each["status"].get("phase") for each in self._pods()}
            return bool(phases) and phases <= {"Running", "Succeeded"}

        await_true(running, "all pods run", 5 * MINUTES)

    def _gateways_are_apart(self) -> str:
        nodes = sorted(each["spec"]["nodeName"] for each in self._pods("gateway"))
        if nodes != self._cluster.node_names:
            raise StepFailed(f"the gateways are on {', '.join(nodes)}")
        return f"on {', '.join(nodes)}"

    @contextmanager
    def _under_load(self) -> Iterator[list[dict[str, Any]]]:
        """Questions through both Services meanwhile; then the list holds what came of them."""
        program = {"asker.py": ASKER.read_text()}
        meta = {"name": "asker", "namespace": "shop"}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": program}
        node = self._pods("qdrant")[0]["spec"]["nodeName"]
        layout = self._cluster.layout
        pod = layout.configuration("asker.yaml", node=node, image=self._image)
        self._cluster.apply(json.dumps(config), pod)
        self._wait("pod/asker", "Ready", "shop")
        reports: list[dict[str, Any]] = []
        yield reports
        for container in ("service", "headless"):
            options = ("-n", "shop", "-c", container)
            self._exec("asker", "sh", "-c", "kill -TERM 1", options=options)
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        self._cluster.kubectl("wait", "pod/asker", ended, "--timeout=60s", "-n", "shop")
        for container in ("service", "headless"):
            said = self._cluster.kubectl("logs", "asker", "-c", container, "-n", "shop")
            reports.append(json.loads(said.splitlines()[-1]))
        self._cluster.kubectl("delete", "pod/asker", "-n", "shop")

    def _scale(self, replicas: dict[str, int]) -> None:
        """Until those that are to be gone are gone."""
        for workload, number in replicas.items():
            self._cluster.kubectl("scale", workload, f"--replicas={number}", "-n", "realm")
        gone = {name.split("/")[1] for name, number in replicas.items() if number == 0}

        def none() -> bool:
            pods = self._cluster.objects("pods", "-n", "realm")
            names = {each["metadata"]["labels"].get(NAME_LABEL) for each in pods}
            return not gone & names

        await_true(none, f"no pod of {', '.join(sorted(gone))}", 3 * MINUTES)

    def _store(self) -> Path:
        """The folder that the claim `store` is bound to."""
        claim = json.loads(self._cluster.kubectl("get", "pvc/store", "-n", "realm", "-o", "json"))
        return self._cluster.layout.volumes / str(claim["spec"]["volumeName"])

    def _write(self, *documents: tuple[str, str]) -> bool:
        lines = (json.dumps({"id": name, "text": text}) for name, text in documents)
        text = "\n".join(lines)
        put = ("sh", "-c", "cat > /tmp/documents.jsonl")
        self._exec("client", *put, options=("--stdin", "-n", "shop"), text=text)
        self._realm("corpus", "import", "/tmp/documents.jsonl", at="gateway-import")
        return True

    def _finds(self, document: tuple[str, str]) -> bool:
        return document[1] in self._realm("search", "--json", document[1])

    def _generation(self) -> int:
        return int(json.loads(self._realm("status", "--json"))["live"]["generation"])

    def _realm(self, *words: str, at: str = "gateway") -> str:
        """What the command line prints for a client in a namespace that may ask."""
        return self._exec("client", "realm", *words, "--address", f"{at}.realm:50051")

    def _exec(
        self, pod: str, *words: str, options: tuple[str, ...] = ("-n", "shop"), text: str = ""
    ) -> str:
        command = ("exec", pod, *options, "--", *words)
        return self._cluster.kubectl(*command, seconds=5 * MINUTES, text=text)

    def _realm_rollout(self, workload: str) -> None:
        options = ("-n", "realm", "--timeout=300s")
        self._cluster.kubectl("rollout", "status", workload, *options, seconds=6 * MINUTES)

    def _wait(self, what: str, condition: str, namespace: str) -> None:
        options = (f"--for=condition={condition}", "--timeout=120s", "-n", namespace)
        self._cluster.kubectl("wait", what, *options)


def count_failures(reports: list[dict[str, Any]]) -> str:
    failed = [each for report in reports for each in report["failed"]]
    asked = sum(report["asked"] for report in reports)
    if failed or asked < ENOUGH:
        raise StepFailed(f"{asked} questions asked, {len(failed)} failed: {failed[:5]}")
    return f"{asked} questions, none failed"

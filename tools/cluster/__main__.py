"""`python -m tools.cluster test`: a cluster from nothing, realm's overlay tried on it, all removed.

`up`: the cluster alone, until Ctrl-C. `programs FOLDER`: puts Kubernetes' own programs there.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tools.cluster import node_images, programs
from tools.cluster.cluster import Cluster, clear
from tools.cluster.layout import Layout, namespace_of
from tools.cluster.processes import end_all, run
from tools.cluster.steps import Step, run_steps, say
from tools.cluster.trial import Trial

#: Names of networks and control groups are the machine's.
LOCK = Path("/run/realm-cluster.lock")
#: Program, and Debian's package that holds it.
TOOLS = {
    "containerd": "containerd",
    "runc": "runc",
    "dockerd": "docker.io",
    "debootstrap": "debootstrap",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
NOT_CHECKED = (
    "Qdrant as three peers, and its image: its engine behind our server stands for one",
    "Redis' image: Debian's Redis stands for it",
    "GPUs, the images for CUDA, autoscaling, an ingress, operators, a bucket, volumes of a cloud",
    "Qdrant's node drained, and a node that dies without a word",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.cluster", description=__doc__)
    parser.add_argument("what", choices=("test", "up", "programs"))
    parser.add_argument("folder", nargs="?", type=Path, help="where `programs` are put")
    given = parser.parse_args()
    if given.what == "programs":
        if given.folder is None:
            parser.error("name the folder")
        step = _built(given.folder.absolute(), programs.build_kubernetes)
        return 0 if run_steps([step], str) else 1
    if os.geteuid() != 0:
        say("not possible: nodes are namespaces, which root alone can make")
        return 1
    cluster = Cluster(Layout.of_environment())
    # SIGTERM ends as Ctrl-C does: whatever was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("not possible: another such cluster is at work on this machine")
            return 1
        try:
            return _test(cluster) if given.what == "test" else _hold(cluster)
        except KeyboardInterrupt:
            return 130
        finally:
            end_all()


def _test(cluster: Cluster) -> int:
    succeeded = run_steps([*_preparations(cluster), *Trial(cluster).steps], cluster.describe)
    for each in NOT_CHECKED:
        say(f"not checked: {each}")
    return 0 if succeeded else 1


def _hold(cluster: Cluster) -> int:
    """Until Ctrl-C."""
    if not run_steps(_preparations(cluster), cluster.describe):
        return 1
    kubectl = f"{cluster.layout.programs}/kubectl --kubeconfig={cluster.layout.kubeconfig}"
    say(f"nsenter --net=/run/netns/{namespace_of('plane')} {kubectl} get nodes\nCtrl-C ends it.")
    signal.pause()
    return 0


def _preparations(cluster: Cluster) -> list[Step]:
    layout = cluster.layout

    def install() -> str:
        clear(layout)
        missing = sorted(package for name, package in TOOLS.items() if shutil.which(name) is None)
        if missing:
            run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing,
                seconds=600)  # fmt: skip
        return ", ".join(missing)

    def images() -> str:
        node_images.prepare(layout, say)
        return ""

    def start() -> str:
        cluster.start()
        return ", ".join(cluster.node_names)

    return [
        ("Debian's packages", install),
        _built(layout.programs, programs.build),
        ("images", images),
        ("control plane, nodes, names", start),
    ]


def _built(folder: Path, build: Callable[[Path, Callable[[str], None]], None]) -> Step:
    def act() -> str:
        build(folder, say)
        return run(folder / "kubectl", "version", "--client").splitlines()[0]

    return "programs", act


if __name__ == "__main__":
    sys.exit(main())

"""The programs of a Kubernetes cluster, built from Go modules; kept until their versions change."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tools.cluster.layout import HERE
from tools.cluster.processes import CommandFailed, run

SOURCES = HERE / "programs"
#: What the one program `kubernetes` is, by the name that it is called by.
NAMES = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
    "kubectl",
)  # fmt: skip
KUBE_ROUTER = "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router@v2.1.0"
SMALL = "-s -w"
BUILD_SECONDS = 3600


def build_kubernetes(folder: Path, say: Callable[[str], None]) -> None:
    """Its own programs, unless they are there in this version already.

    :raises CommandFailed: if there is no Go, or it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _built(folder, "kubernetes", _hash("kubernetes"), _kubernetes, say)
    for name in NAMES:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to("kubernetes")


def build(folder: Path, say: Callable[[str], None]) -> None:
    """Whatever a node runs: these, names, policies, the container that holds a pod's namespaces."""
    build_kubernetes(folder, say)
    _built(folder, "coredns", _hash("coredns"), _module("coredns"), say)
    _built(folder, "pause", _hash("pause"), _module("pause"), say)
    _built(folder, "kube-router", KUBE_ROUTER, _kube_router, say)


def _built(
    folder: Path, name: str, version: str, build: Callable[[Path], None], say: Callable[[str], None]
) -> None:
    mark = folder / f"{name}.version"
    if (folder / name).exists() and mark.exists() and mark.read_text() == version:
        return
    say(f"builds {name}")
    build(folder)
    mark.write_text(version)


def _hash(module: str) -> str:
    made = hashlib.sha256()
    for file in sorted((SOURCES / module).iterdir()):
        made.update(file.read_bytes())
    return made.hexdigest()


def _kubernetes(folder: Path) -> None:
    source = SOURCES / "kubernetes"
    version = _go(source, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").strip()
    major, minor, _ = version.removeprefix("v").split(".")
    told = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    says = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in told.items()]
    flags = " ".join([SMALL, *says])
    _go(source, "build", "-trimpath", f"-ldflags={flags}", "-o", str(folder / "kubernetes"), ".")


def _module(name: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        target = str(folder / name)
        _go(SOURCES / name, "build", "-trimpath", f"-ldflags={SMALL}", "-o", target, ".")

    return build


def _kube_router(folder: Path) -> None:
    _go(HERE, "install", "-trimpath", f"-ldflags={SMALL}", KUBE_ROUTER, GOBIN=str(folder))


def _go(source: Path, *words: str, **environment: str) -> str:
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if go is None:
        raise CommandFailed("Go is not installed: Kubernetes is built with 1.26 or newer")
    chosen = [f"{name}={value}" for name, value in {"CGO_ENABLED": "0", **environment}.items()]
    return run("env", f"--chdir={source}", *chosen, go, *words, seconds=BUILD_SECONDS)

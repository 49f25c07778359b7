"""Where everything of the cluster lies: folders, addresses, names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: Before the names of network namespaces, and of the control group of everything that is started.
PREFIX = "realm-cluster"
LAN = "172.30.0"
PLANE_ADDRESS = f"{LAN}.100"
API_SERVER = f"https://{PLANE_ADDRESS}:6443"
PODS = "10.244"
SERVICES = "10.96"
#: In which the API server stands to pods.
SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a run leaves for the next lies in `cache`, but for `run`, which each begins anew."""

    cache: Path

    @classmethod
    def of_environment(cls) -> Layout:
        named = os.environ.get("REALM_CLUSTER_CACHE")
        return cls(Path(named).absolute() if named else Path.home() / ".cache" / PREFIX)

    @property
    def programs(self) -> Path:
        return self.cache / "bin"

    @property
    def wheels(self) -> Path:
        return self.cache / "wheels"

    @property
    def docker(self) -> Path:
        return self.cache / "docker"

    @property
    def images(self) -> Path:
        """What containerd made of all images: each node begins with a copy."""
        return self.cache / "containerd"

    @property
    def run(self) -> Path:
        return self.cache / "run"

    @property
    def certificates(self) -> Path:
        return self.run / "certificates"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def volumes(self) -> Path:
        return self.run / "volumes"

    @property
    def kubeconfig(self) -> Path:
        """An administrator's."""
        return self.certificates / "admin.conf"

    def node(self, number: int) -> Path:
        """What is a node's own: kubelet, containerd, logs of pods."""
        return self.run / f"node{number}"

    def configuration(self, file: str, /, **more: object) -> str:
        """A file of `config/`, filled in."""
        known = {
            "certificates": self.certificates,
            "lan": LAN,
            "pods": PODS,
            "services": SERVICES,
        }
        return Template((HERE / "config" / file).read_text()).substitute(known | more)


def namespace_of(host: str) -> str:
    """The network namespace of `plane`, `lan` or `node1`."""
    return f"{PREFIX}-{host}"

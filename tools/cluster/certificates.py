"""Who is who in the cluster: certificates of one authority, and kubeconfigs that show them."""

from __future__ import annotations

import json

from bench.apparatus.authority import Authority
from tools.cluster.layout import API_SERVER, LAN, PLANE_ADDRESS, SERVICE_NAMES, SERVICES, Layout

ADMINISTRATORS = "system:masters"
#: File, subject, and the group that it belongs to.
CLIENTS = (
    ("admin", "admin", ADMINISTRATORS),
    ("to-kubelets", "kube-apiserver", ADMINISTRATORS),
    ("policies", "policies", ADMINISTRATORS),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
)


def make(layout: Layout, nodes: range) -> None:
    """In `layout.certificates`: NAME.crt and NAME.key of all, NAME.conf of whoever calls."""
    authority = Authority(layout.certificates)
    addresses = (f"{SERVICES}.0.1", PLANE_ADDRESS, "127.0.0.1")
    authority.issue("kube-apiserver", "server", hosts=(*SERVICE_NAMES, *addresses))
    # Signs the tokens of service accounts.
    authority.issue("accounts", hosts=())
    for file, subject, group in CLIENTS:
        authority.issue(subject, file, organization=group, hosts=())
        _kubeconfig(layout, file)
    for node in (f"node{number}" for number in nodes):
        hosts = (node, f"{LAN}.{node.removeprefix('node')}")
        authority.issue(f"system:node:{node}", node, organization="system:nodes", hosts=hosts)
        _kubeconfig(layout, node)


def _kubeconfig(layout: Layout, name: str) -> None:
    folder = layout.certificates
    user = {
        "client-certificate": str(folder / f"{name}.crt"),
        "client-key": str(folder / f"{name}.key"),
    }
    cluster = {"server": API_SERVER, "certificate-authority": str(folder / "authority.pem")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": name}}],
        "current-context": "here",
    }
    (folder / f"{name}.conf").write_text(json.dumps(config))

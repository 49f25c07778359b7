"""The control plane: etcd, API server, controllers, scheduler, each a process in its network."""

from __future__ import annotations

from tools.cluster.layout import PLANE_ADDRESS, SERVICE_NAMES, SERVICES, Layout
from tools.cluster.processes import inside, start

ISSUER = f"https://{SERVICE_NAMES[-1]}.cluster.local"


def start_api_server(layout: Layout) -> None:
    _start(layout, "etcd", f"--data-dir={layout.run / 'etcd'}", "--unsafe-no-fsync")
    own = layout.certificates
    _start(
        layout,
        "kube-apiserver",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={PLANE_ADDRESS}",
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        f"--service-cluster-ip-range={SERVICES}.0.0/16",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={own / 'authority.pem'}",
        f"--tls-cert-file={own / 'server.crt'}",
        f"--tls-private-key-file={own / 'server.key'}",
        f"--kubelet-client-certificate={own / 'to-kubelets.crt'}",
        f"--kubelet-client-key={own / 'to-kubelets.key'}",
        f"--kubelet-certificate-authority={own / 'authority.pem'}",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={own / 'accounts.crt'}",
        f"--service-account-signing-key-file={own / 'accounts.key'}",
    )


def start_controllers(layout: Layout) -> None:
    """They ask the API server, which has to answer by now."""
    own = layout.certificates
    _start(
        layout,
        "kube-controller-manager",
        *_asks(layout, "controllers"),
        f"--root-ca-file={own / 'authority.pem'}",
        f"--service-account-private-key-file={own / 'accounts.key'}",
        "--use-service-account-credentials",
    )
    _start(layout, "kube-scheduler", *_asks(layout, "scheduler"))


def _asks(layout: Layout, name: str) -> tuple[str, ...]:
    config = layout.certificates / f"{name}.conf"
    return (f"--kubeconfig={config}", "--leader-elect=false", "--secure-port=0")


def _start(layout: Layout, program: str, *options: str) -> None:
    start(program, [*inside("plane"), layout.programs / program, *options], layout.logs)

"""Where a server listens, and how: TLS with certificates that may be replaced, or plaintext; and
the refusal to do so unprotected on other addresses than loopback unless told to.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import grpc
import structlog

from realm.errors import BadSettings
from realm.process.certificates import Contents, RenewedCertificate
from realm.settings.access import Access

log = structlog.get_logger(__name__)


def check_exposure(access: Access, address: str, *, keys: bool) -> None:
    """:param keys: whether callers are asked for keys there.
    :raises BadSettings: if others than this machine could listen in, or call without a key.
    """
    if access.insecure or is_own(address):
        return
    if not keys:
        raise BadSettings(
            f"whoever reaches {address} could do anything there: set REALM_REQUIRE_KEYS (of an"
            " indexer: REALM_SERVICE_KEY), listen on 127.0.0.1, or say REALM_INSECURE=true"
        )
    if not access.tls_certificate:
        raise BadSettings(
            f"keys and documents would travel to {address} in plaintext: set"
            " REALM_TLS_CERTIFICATE and REALM_TLS_PRIVATE_KEY, listen on 127.0.0.1, or say"
            " REALM_INSECURE=true"
        )


def is_own(address: str) -> bool:
    """Whether only this machine reaches a listening address: one that stands for all of its
    addresses is reached by all."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def add_port(server: Any, access: Access, address: str) -> int:
    """The port that a server (of either kind of gRPC's) listens on, also if the address says 0.

    :raises BadSettings: if the certificate cannot be used.
    :raises RuntimeError: if the address cannot be listened on.
    """
    credentials = server_credentials(access)
    if credentials is None:
        return int(server.add_insecure_port(address))
    return int(server.add_secure_port(address, credentials))


def server_credentials(access: Access) -> grpc.ServerCredentials | None:
    """None for plaintext. Each new connection gets the certificate that the files hold by then.

    :raises BadSettings: if the files cannot be used.
    """
    if not access.tls_certificate:
        return None
    certificate = RenewedCertificate(access, _configuration)

    def renewed() -> Any:
        """None: nothing changed."""
        return certificate.newest if certificate.renew() else None

    return grpc.dynamic_ssl_server_credentials(
        certificate.newest, renewed, require_client_authentication=access.tls_clients
    )


def _configuration(contents: Contents) -> Any:
    key, chain, *authority = contents
    return grpc.ssl_server_certificate_configuration(
        [(key, chain)], root_certificates=authority[0] if authority else None
    )

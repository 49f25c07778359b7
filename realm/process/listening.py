"""Where a server listens, and how: TLS with certificates that may be replaced, or plaintext; and
the refusal to do so unprotected on other addresses than loopback unless told to.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import grpc
import structlog

from realm.errors import BadSettings
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
    certificate = Certificate(access)
    try:
        first = certificate.read()
    except OSError as error:
        raise BadSettings(f"the certificate cannot be read: {error}") from error
    return grpc.dynamic_ssl_server_credentials(
        first, certificate.renewed, require_client_authentication=access.tls_clients
    )


class Certificate:
    """A server's certificate, in files that somebody may replace at any moment."""

    def __init__(self, access: Access) -> None:
        self._paths = [Path(access.tls_private_key), Path(access.tls_certificate)]
        self._authority = Path(access.tls_authority) if access.tls_clients else None
        self._read: tuple[bytes, ...] = ()

    def read(self) -> Any:
        """:raises OSError: if a file cannot be read."""
        self._read = self._contents()
        return _configuration(self._read)

    def renewed(self) -> Any:
        """None if nothing changed; gRPC asks before each handshake. A key that does not fit its
        certificate is one that is just being replaced."""
        try:
            now = self._contents()
            if now == self._read:
                return None
            configuration = _configuration(now)
        except Exception as error:  # whatever it is, connections go on with the one before
            log.warning("certificate_not_renewed", why=type(error).__name__)
            return None
        self._read = now
        log.info("certificate_renewed")
        return configuration

    def _contents(self) -> tuple[bytes, ...]:
        paths = [*self._paths, *([self._authority] if self._authority else [])]
        return tuple(path.read_bytes() for path in paths)


def _configuration(contents: tuple[bytes, ...]) -> Any:
    key, chain, *authority = contents
    return grpc.ssl_server_certificate_configuration(
        [(key, chain)], root_certificates=authority[0] if authority else None
    )

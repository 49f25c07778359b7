"""What a client shows a server, and how it trusts one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import grpc

from realm.errors import InvalidInput
from realm.loopback import is_loopback

#: An API key or a token; or what gives the one that is valid at the moment.
Key = str | Callable[[], str]
File = str | PathLike[str]

AUTHORIZATION = "authorization"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the authorities to trust (empty: the machine's own, or those of
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH), and a certificate with its private key to show."""

    authority: File = ""
    certificate: File = ""
    private_key: File = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """:raises InvalidInput: if a file cannot be read."""
        if bool(self.certificate) != bool(self.private_key):
            raise InvalidInput("a certificate and its private key need each other", field="tls")
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.authority),
            private_key=_read(self.private_key),
            certificate_chain=_read(self.certificate),
        )


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that shows a key; none without one."""
    return ((AUTHORIZATION, f"Bearer {key}"),) if key else ()


def check_confidential(address: str, encrypted: bool) -> None:
    """:raises InvalidInput: if a key would travel in plaintext to another machine."""
    if not encrypted and not is_loopback(address):
        raise InvalidInput(
            f"a key would travel to {address} in plaintext: write https://, or say that this is"
            " meant (insecure=True, REALM_INSECURE=true)",
            field="key",
        )


def _read(file: File) -> bytes | None:
    if not file:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", field="tls") from error

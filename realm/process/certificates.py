"""A server's certificate, in files that somebody may replace at any moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from realm.errors import BadSettings
from realm.settings.access import Access

T = TypeVar("T")
#: Of the key, the certificate with its chain and, where clients show theirs, of who signs those.
Contents = tuple[bytes, ...]

log = structlog.get_logger(__name__)


class RenewedCertificate(Generic[T]):
    """`newest` is what was made of the files as they were at the last `renew`."""

    def __init__(self, access: Access, make: Callable[[Contents], T]) -> None:
        """:raises BadSettings: if the files cannot be used."""
        self._paths = [Path(access.tls_private_key), Path(access.tls_certificate)]
        if access.tls_clients:
            self._paths.append(Path(access.tls_authority))
        self._make = make
        try:
            self._read = self._contents()
            self.newest = make(self._read)
        except OSError as error:  # those of ssl are, too
            raise BadSettings(f"the certificate cannot be used: {error}") from error

    def renew(self) -> bool:
        """Whether there is a new one: call it before each handshake. A key that does not fit its
        certificate is one that is just being replaced: connections go on with the pair before."""
        try:
            now = self._contents()
            if now == self._read:
                return False
            self.newest = self._make(now)
        except Exception as error:  # whatever it is
            log.warning("certificate_not_renewed", why=type(error).__name__)
            return False
        self._read = now
        log.info("certificate_renewed")
        return True

    def _contents(self) -> Contents:
        return tuple(path.read_bytes() for path in self._paths)

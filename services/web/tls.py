"""TLS with certificates that may be replaced at any moment: each new connection gets the newest."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

from realm.errors import BadSettings
from realm.settings.access import Access

log = structlog.get_logger(__name__)


class Certificates:
    """The context of the connections to come. A key that does not fit its certificate is one that
    is just being replaced: connections go on with the pair before."""

    def __init__(self, access: Access) -> None:
        """:raises BadSettings: if the files cannot be used."""
        self._access = access
        self._certificate, self._key = Path(access.tls_certificate), Path(access.tls_private_key)
        try:
            self._seen = self._stamp()
            self.newest = self._made()
        except (OSError, ssl.SSLError) as error:
            raise BadSettings(f"the certificate cannot be used: {error}") from error

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        found = [file.stat() for file in (self._certificate, self._key)]
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)

    def _made(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._certificate, self._key)
        if self._access.tls_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._access.tls_authority)
        context.sni_callback = self._renew
        return context

    def _renew(self, connection: ssl.SSLObject, _name: str | None, _context: object) -> None:
        """Called at the beginning of each handshake."""
        try:
            if (stamp := self._stamp()) != self._seen:
                self.newest, self._seen = self._made(), stamp
                log.info("certificate_renewed")
        except (OSError, ssl.SSLError) as error:
            log.warning("certificate_not_renewed", why=type(error).__name__)
        connection.context = self.newest

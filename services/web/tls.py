"""TLS with certificates that may be replaced at any moment: each new connection gets the newest."""

from __future__ import annotations

import ssl

from realm.process.certificates import Contents, RenewedCertificate
from realm.settings.access import Access


class Contexts:
    """`newest` is the context of the connections to come."""

    def __init__(self, access: Access) -> None:
        """:raises BadSettings: if the files cannot be used."""
        self._access = access
        self._certificate = RenewedCertificate(access, self._made)

    @property
    def newest(self) -> ssl.SSLContext:
        return self._certificate.newest

    def _made(self, _contents: Contents) -> ssl.SSLContext:
        """`ssl` reads the files itself; if they change meanwhile, it reads them again next time."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._access.tls_certificate, self._access.tls_private_key)
        if self._access.tls_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._access.tls_authority)
        context.sni_callback = self._renew
        return context

    def _renew(self, connection: ssl.SSLObject, _name: str | None, _context: object) -> None:
        """Called at the beginning of each handshake."""
        self._certificate.renew()
        connection.context = self.newest

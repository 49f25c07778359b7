"""An authority of our own, that signs certificates for processes of a test or a bench."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


class Authority:
    """Each `issue` gives a new certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        certificate = self._sign(self._name, self._key.public_key(), [], authority=True)
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key = folder / f"{name}.key"
        _write(self.key, self._key)

    def issue(
        self,
        name: str,
        file: str = "",
        *,
        organization: str = "",
        hosts: Iterable[str] | None = None,
    ) -> tuple[Path, Path]:
        """The files of a certificate, and of its key.

        :param name: the subject's, and the host that it is for unless `hosts` says another.
        :param file: how the files are called; as the subject if empty.
        :param hosts: names and addresses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
        if organization:
            attributes.append(x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, organization))
        certificate = self._folder / f"{file or name}.crt"
        private = self._folder / f"{file or name}.key"
        alternatives = [_alternative(each) for each in ([name] if hosts is None else hosts)]
        signed = self._sign(x509.Name(attributes), key.public_key(), alternatives, authority=False)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        _write(private, key)
        return certificate, private

    def _sign(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePublicKey,
        alternatives: list[x509.GeneralName],
        *,
        authority: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if alternatives:
            names = x509.SubjectAlternativeName(alternatives)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )

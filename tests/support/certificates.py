"""Certificates for mutual TLS: an authority, what it issues, and what nobody issued."""

import ipaddress
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey

from foundation.certificates import ClientCertificate, parse_client_cert
from foundation.handles import b64url

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Holder:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def header(self) -> str:
        """As a proxy writes it (RFC 9440 2.2)."""
        return f":{b64encode(self.der).decode()}:"

    @property
    def x5t(self) -> str:
        return b64url(sha256(self.der).digest())

    def parsed(self, *, is_trusted: bool = True) -> ClientCertificate:
        return parse_client_cert(self.header, is_trusted=is_trusted)

    def jwk(self) -> dict[str, Any]:
        """The public key with its certificate, as registered for self_signed_tls_client_auth."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key = ECKey.import_key(pem)
        return {**key.as_dict(private=False), "kid": key.thumbprint(), "x5c": [b64encode(self.der).decode()]}

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """The paths of the certificate and of the private key, in PEM."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(certificate), str(key)


def make_certificate(
    subject: str = "CN=Assistant,O=Example", *names: x509.GeneralName, issuer: Holder | None = None,
    is_authority: bool = False, days: tuple[int, int] = (-1, 30),
) -> Holder:  # fmt: skip
    """Self-signed without an issuer. Valid between these days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name.from_rfc4514_string(subject)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(issuer.certificate.subject if issuer else own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Holder(builder.sign(issuer.key if issuer else key, SHA256()), key)


def dns(name: str) -> x509.GeneralName:
    return x509.DNSName(name)


def uri(name: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(name)


def email(name: str) -> x509.GeneralName:
    return x509.RFC822Name(name)


def ip(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name))

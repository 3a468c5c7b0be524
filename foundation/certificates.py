"""A TLS client certificate as a proxy forwards it (RFC 9440). Pure."""

import re
from base64 import b64decode
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from foundation.handles import b64url

MAX_HEADER = 16_384  # characters
_BYTE_SEQUENCE = re.compile(r" *:([A-Za-z0-9+/]+={0,2}): *")  # RFC 8941 3.3.5, without parameters


@dataclass(frozen=True)
class ClientCertificate:
    """A certificate whose private key the sender of the request proved to hold in the proxy's TLS handshake."""

    x509: x509.Certificate
    x5t: str  # base64url SHA-256 of the DER (RFC 8705 3.1)
    is_trusted: bool  # the proxy verified the chain; always False for a self-signed certificate

    def is_valid_at(self, now: datetime) -> bool:
        return self.x509.not_valid_before_utc <= now <= self.x509.not_valid_after_utc


def parse_client_cert(header: str, *, is_trusted: bool) -> ClientCertificate:
    """Parses a Client-Cert header (RFC 9440). Raises ValueError."""
    # Two headers arrive joined by a comma, which does not match a byte sequence either.
    found = _BYTE_SEQUENCE.fullmatch(header) if len(header) <= MAX_HEADER else None
    if found is None:
        raise ValueError("Client-Cert is not one byte sequence (RFC 9440 2.2)")
    der = b64decode(found[1], validate=True)
    return ClientCertificate(parse_der(der), b64url(sha256(der).digest()), is_trusted)


def parse_der(der: bytes) -> x509.Certificate:
    """Parses a DER certificate and its lazy fields. Raises ValueError."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        certificate.public_key()
        # The library parses these fields on first access. Parsing them now keeps its errors out of
        # a later decision.
        _ = (
            certificate.subject,
            certificate.extensions,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise ValueError("the certificate cannot be read") from error
    return certificate

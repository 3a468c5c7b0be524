"""Client authentication by certificate (RFC 8705 2): does this certificate belong to that agent? Pure."""

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from clients import keys
from foundation.certificates import ClientCertificate

# tls_client_auth_<kind> (RFC 8705 2.1.2)
SUBJECT_KINDS = ("subject_dn", "san_dns", "san_uri", "san_ip", "san_email")
MAX_NAME = 500


def problem_with_chained(certificate: ClientCertificate, names: Mapping[str, str], now: datetime) -> str | None:
    """tls_client_auth (RFC 8705 2.1): a chain that the proxy trusts, and the registered name. None if both hold."""
    if not certificate.is_trusted:
        return "the certificate's chain is not trusted"
    if not certificate.is_valid_at(now):
        return "the certificate is not valid now"
    submitted = {kind: name for kind, name in names.items() if name}
    if len(submitted) != 1:
        return "the agent has not exactly one registered name"
    ((kind, name),) = submitted.items()
    return None if _has_name(certificate.x509, kind, name) else "the certificate has another name"


def problem_with_self_signed(certificate: ClientCertificate, jwks: Any, now: datetime) -> str | None:
    """self_signed_tls_client_auth (RFC 8705 2.2): a certificate that the agent registered in `x5c`.

    None if it is one.
    """
    if not certificate.is_valid_at(now):
        return "the certificate is not valid now"
    der = certificate.x509.public_bytes(Encoding.DER)
    if der not in keys.registered_certificates(jwks):
        return "the certificate is not registered"
    return None


def problem_with_names(names: Mapping[str, str]) -> str | None:
    """Why these names are invalid for tls_client_auth, or None. Exactly one name is required."""
    submitted = {kind: name for kind, name in names.items() if name}
    if len(submitted) != 1:
        return "tls_client_auth needs exactly one of subject_dn, san_dns, san_uri, san_ip and san_email"
    ((kind, name),) = submitted.items()
    if len(name) > MAX_NAME:
        return f"the {kind} is too long"
    try:
        if kind == "subject_dn":
            x509.Name.from_rfc4514_string(name)
        elif kind == "san_ip":
            ipaddress.ip_address(name)
    except ValueError:
        return f"the {kind} is malformed"
    if "*" in name and kind == "san_dns":
        return "san_dns must be one name without a wildcard"
    return None


def _has_name(certificate: x509.Certificate, kind: str, name: str) -> bool:
    if kind == "subject_dn":
        return _comparable(certificate.subject) == _comparable(x509.Name.from_rfc4514_string(name))
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    match kind:
        case "san_dns":
            return name.lower() in [one.lower() for one in names.get_values_for_type(x509.DNSName)]
        case "san_uri":
            return name in names.get_values_for_type(x509.UniformResourceIdentifier)
        case "san_ip":
            return ipaddress.ip_address(name) in names.get_values_for_type(x509.IPAddress)
        case "san_email":
            return name in names.get_values_for_type(x509.RFC822Name)
    raise ValueError(f"no such name: {kind}")


def _comparable(name: x509.Name) -> Sequence[frozenset[tuple[str, str]]]:
    """Prepares a name for distinguishedNameMatch (RFC 4517 4.2.15).

    The order matters; letter case and repeated spaces do not.
    """
    return [
        frozenset((one.oid.dotted_string, " ".join(str(one.value).casefold().split())) for one in part)
        for part in name.rdns
    ]

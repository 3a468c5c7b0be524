"""The certificate of the sender's TLS connection (RFC 8705), which a trusted proxy hands on (RFC 9440)."""

from django.http import HttpRequest

from foundation.certificates import ClientCertificate, parse_client_cert
from foundation.errors import InvalidRequest

# Set by the guard (authserver/middleware.py) for what a trusted proxy said, and by nobody else.
CERTIFICATE = "COUNTERSIGN_CLIENT_CERT"
IS_TRUSTED = "COUNTERSIGN_CLIENT_CERT_IS_TRUSTED"


def certificate_of(request: HttpRequest) -> ClientCertificate | None:
    """None without one. Raises InvalidRequest for one that cannot be read."""
    header = request.META.get(CERTIFICATE)
    if header is None:
        return None
    try:
        return parse_client_cert(header, is_trusted=bool(request.META.get(IS_TRUSTED)))
    except ValueError as error:
        raise InvalidRequest("the client certificate cannot be read", detail=str(error)) from error

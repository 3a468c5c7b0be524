"""The certificate of the sender's TLS connection (RFC 8705), as a trusted proxy forwards it (RFC 9440)."""

from django.http import HttpRequest

from foundation.certificates import ClientCertificate, parse_client_cert
from foundation.errors import InvalidRequest

# Only the guard (authserver/middleware.py) sets it, from the header of a trusted proxy.
CERTIFICATE = "COUNTERSIGN_CLIENT_CERT"
IS_TRUSTED = "COUNTERSIGN_CLIENT_CERT_IS_TRUSTED"


def certificate_of(request: HttpRequest) -> ClientCertificate | None:
    """The certificate of this request, or None. Raises InvalidRequest for a malformed one."""
    header = request.META.get(CERTIFICATE)
    if header is None:
        return None
    try:
        return parse_client_cert(header, is_trusted=bool(request.META.get(IS_TRUSTED)))
    except ValueError as error:
        raise InvalidRequest("the client certificate cannot be read", detail=str(error)) from error

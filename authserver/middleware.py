"""The middleware. Protocol paths pass only the guard and the security headers; the rest is for pages."""

import ipaddress
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin
from whitenoise.middleware import WhiteNoiseMiddleware

from clients.mutual_tls import CERTIFICATE, IS_TRUSTED
from foundation.endpoint import error_response
from foundation.errors import BodyTooLarge

# Answered with neither session, cookie nor template.
PROTOCOL_PREFIXES = (
    "/oauth/", "/oidc/register", "/bc-authorize", "/.well-known/", "/userinfo", "/v1/uses", "/v1/operation-types",
    "/v1/leases", "/livez", "/readyz", "/metrics",
)  # fmt: skip


def is_protocol(request: HttpRequest) -> bool:
    return request.path_info.startswith(PROTOCOL_PREFIXES)


class Guard:
    """First of all: the client's address behind trusted proxies, the body's size, a reference for the log."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.trusted = [ipaddress.ip_network(proxy) for proxy in settings.TRUSTED_PROXIES]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self._see_through_proxy(request)
        reference = uuid.uuid4().hex[:12]
        request.META["COUNTERSIGN_REFERENCE"] = reference
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(reference=reference)
        if _content_length(request) > settings.MAX_BODY_BYTES:
            return error_response(BodyTooLarge(), request)
        # PostgreSQL cannot hold U+0000, and no page or endpoint of ours has one in its address.
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            raise BadRequest("the address has a NUL character")
        if not is_protocol(request):
            request.get_host()  # raises for a name that is not in ALLOWED_HOSTS; nothing else would ask
        return self.get_response(request)

    def _see_through_proxy(self, request: HttpRequest) -> None:
        """Believes X-Forwarded-For and -Proto from trusted proxies only: the last address that is not one.

        Likewise Client-Cert (RFC 9440); nobody else's is looked at by anything behind this.
        """
        peer = request.META.get("REMOTE_ADDR") or "0.0.0.0"  # noqa: S104 - stands for "not known"
        certificate = request.META.pop("HTTP_CLIENT_CERT", None)
        outcome = request.META.pop("HTTP_CLIENT_CERT_VERIFY", None)
        if self._is_trusted(peer):
            if settings.MTLS_URL and certificate is not None:
                request.META[CERTIFICATE] = certificate
                request.META[IS_TRUSTED] = outcome == "SUCCESS"
            if request.headers.get("X-Forwarded-Proto", "").strip() == "https":
                # META is the WSGI environ, which request.scheme reads.
                request.META["wsgi.url_scheme"] = "https"
            for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
                if not _is_address(hop.strip()):
                    break
                peer = hop.strip()
                if not self._is_trusted(peer):
                    break
        request.META["REMOTE_ADDR"] = peer

    def _is_trusted(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in net for net in self.trusted)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _content_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


class SecurityHeaders(SecurityMiddleware):
    """Django's, and no framing of anything."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        response.setdefault("X-Frame-Options", "DENY")
        return super().process_response(request, response)


class PagesOnly:
    """Mixed in before a middleware of Django's: protocol paths go straight on."""

    get_response: Callable[[HttpRequest], Any]

    def __call__(self, request: HttpRequest) -> Any:
        if is_protocol(request):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]  # the class that it is mixed into has it


class StaticFiles(PagesOnly, WhiteNoiseMiddleware):
    pass


class Sessions(PagesOnly, SessionMiddleware):
    pass


class Csrf(PagesOnly, CsrfViewMiddleware):
    def process_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return None if is_protocol(request) else super().process_view(request, *args, **kwargs)


class Authentication(PagesOnly, AuthenticationMiddleware):
    def process_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return None  # pages say for themselves who may see them


class Messages(PagesOnly, MessageMiddleware):
    pass


class ContentSecurityPolicy(PagesOnly, CSPMiddleware):
    pass


class RefusedMethods(PagesOnly, MiddlewareMixin):
    """Django's 405 has no body: who signs in again on the way to a button lands on a blank page."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if response.status_code != 405 or response.content or request.method == "HEAD":
            return response
        context = {
            "title": "This address is for a button",
            "what_happened": "It was opened like a page, perhaps after you had to sign in again. Nothing was changed.",
            "what_to_do": "Go back to where the button is, and press it again.",
        }
        page = render(request, "failed.html", context, status=405)
        page["Allow"] = response["Allow"]
        return page

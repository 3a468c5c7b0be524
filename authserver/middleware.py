"""The middleware.

Protocol paths pass only the guard and the security headers; pages pass all of it.
"""

import logging
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

from authserver.forwarded import parse_network, read_sender
from clients.mutual_tls import CERTIFICATE, IS_TRUSTED
from foundation.endpoint import error_response
from foundation.errors import BodyTooLarge
from foundation.trace_context import continue_trace, parse_traceparent

log = logging.getLogger(__name__)

# Paths without session, cookie and template.
PROTOCOL_PREFIXES = (
    "/oauth/", "/oidc/register", "/bc-authorize", "/.well-known/", "/userinfo", "/v1/uses", "/v1/operation-types",
    "/v1/leases", "/livez", "/readyz", "/metrics",
)  # fmt: skip


def is_protocol(request: HttpRequest) -> bool:
    return request.path_info.startswith(PROTOCOL_PREFIXES)


class Guard:
    """Runs first: the client's address behind trusted proxies, the body limit, a reference for the
    log, the caller's trace.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.trusted = [parse_network(proxy) for proxy in settings.TRUSTED_PROXIES]
        self.logged: set[str] = set()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        self._see_through_proxy(request)
        reference = uuid.uuid4().hex[:12]
        request.META["COUNTERSIGN_REFERENCE"] = reference
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(reference=reference)
        with continue_trace(parse_traceparent(request.META.get("HTTP_TRACEPARENT"))):
            return self._check_and_answer(request)

    def _check_and_answer(self, request: HttpRequest) -> HttpResponse:
        if _content_length(request) > settings.MAX_BODY_BYTES:
            return error_response(BodyTooLarge(), request)
        # PostgreSQL cannot store U+0000, and no address of ours contains it.
        if "\x00" in request.path_info or "%00" in request.META.get("QUERY_STRING", ""):
            raise BadRequest("the address has a NUL character")
        if not is_protocol(request):
            request.get_host()  # raises for a host that is not in ALLOWED_HOSTS; no other code checks it
        return self.get_response(request)

    def _see_through_proxy(self, request: HttpRequest) -> None:
        """Replaces the proxy's address and scheme by the sender's (forwarded.py).

        Does the same for Client-Cert (RFC 9440). Code behind this never sees a Client-Cert from an
        untrusted sender.
        """
        meta = request.META
        certificate = meta.pop("HTTP_CLIENT_CERT", None)
        outcome = meta.pop("HTTP_CLIENT_CERT_VERIFY", None)
        sender = read_sender(
            meta.get("REMOTE_ADDR") or "",
            meta.get("HTTP_X_FORWARDED_FOR", ""),
            meta.get("HTTP_X_FORWARDED_PROTO", ""),
            self.trusted,
        )
        meta["REMOTE_ADDR"] = sender.address
        if sender.scheme is not None:
            meta["wsgi.url_scheme"] = sender.scheme  # META is the WSGI environ, which request.scheme reads
        if sender.is_behind_proxy and settings.MTLS_URL and certificate is not None:
            meta[CERTIFICATE] = certificate
            meta[IS_TRUSTED] = outcome == "SUCCESS"
        for member in sender.unreadable:
            self._log_once(member)

    def _log_once(self, member: str) -> None:
        """Logs once per header, because it comes with every request and the client may control its
        text.
        """
        header = member.partition(":")[0]
        if header not in self.logged:
            self.logged.add(header)
            log.warning(
                "a trusted proxy sent a header that cannot be read: %r. "
                "Rate limits, lockouts and audit events use the proxy's own address or scheme instead",
                member[:100],
            )


def _content_length(request: HttpRequest) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


class SecurityHeaders(SecurityMiddleware):
    """Django's security headers, and a header against framing."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        response.setdefault("X-Frame-Options", "DENY")
        return super().process_response(request, response)


class PagesOnly:
    """A mix-in for Django's middleware: protocol paths skip it."""

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
    def process_view(self, _request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return None  # each page decides who may see it


class Messages(PagesOnly, MessageMiddleware):
    pass


class ContentSecurityPolicy(PagesOnly, CSPMiddleware):
    pass


class RefusedMethods(PagesOnly, MiddlewareMixin):
    """Adds a body to Django's empty 405: a user who signs in again on the way to a button would see
    a blank page.
    """

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        if response.status_code != 405 or response.content or request.method == "HEAD":
            return response
        context = {
            "title": "This address only accepts forms",
            "what_happened": "Your browser opened it as a page, perhaps after you had to sign in again. "
            "Nothing was changed.",
            "what_to_do": "Go back to the page with the button and press it again.",
        }
        page = render(request, "failed.html", context, status=405)
        page["Allow"] = response["Allow"]
        return page

"""The authorization response: the browser goes back to the agent (RFC 6749 4.1.2, RFC 9207)."""

from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from clients import redirects
from clients.models import Agent
from foundation.errors import ProtocolError


def response_url(redirect_uri: str, state: str, **parameters: str) -> str:
    """`iss` in every response, errors too: an agent that talks to several servers sees who answered."""
    if state:
        parameters["state"] = state
    parameters["iss"] = settings.ISSUER_URL
    joint = "&" if urlsplit(redirect_uri).query else "?"
    return redirect_uri.rstrip("?&") + joint + urlencode(parameters)


def error_url(redirect_uri: str, state: str, error: ProtocolError) -> str:
    return response_url(redirect_uri, state, **error.body())


def send_back(url: str) -> HttpResponse:
    """303: whatever the browser sent here, it does not send there. The accepted schemes are not Django's three."""
    response = HttpResponse(status=303)
    response["Location"] = url
    return unseen(response)


def page_back(request: HttpRequest, agent: Agent, url: str, *, by_itself: bool, failed: bool = False) -> HttpResponse:
    """A page that leads back, where a redirect will not do.

    After a form of ours, because form-action is enforced along the whole chain of redirects (`by_itself`: the
    page goes on at once); or because the agent registered itself, and may have sent the person here only to
    be sent on with our name (RFC 9700 4.11.2): then the person decides, with the host before their eyes.
    """
    context = {"agent": agent, "url": url, "place": redirects.place_of(url), "by_itself": by_itself, "failed": failed}
    return unseen(render(request, "oauth/page_back.html", context, status=200))


def allow_form_to(response: HttpResponse, redirect_uri: str) -> HttpResponse:
    """Chromium enforces form-action on the redirect that answers the form."""
    if may_redirect_a_form(redirect_uri):
        response._csp_update = {"form-action": [redirects.source_of(redirect_uri)]}  # type: ignore[attr-defined]
    return response


def may_redirect_a_form(redirect_uri: str) -> bool:
    """Content-Security-Policy cannot name an IPv6 address (CSP 3, 2.3.1)."""
    return "[" not in redirects.source_of(redirect_uri)


def unseen(response: HttpResponse) -> HttpResponse:
    """Neither kept nor told to anybody: the address carries a code."""
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response

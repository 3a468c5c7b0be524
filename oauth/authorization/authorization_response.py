"""The authorization response: sends the browser back to the agent (RFC 6749 4.1.2, RFC 9207)."""

from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from clients import redirects
from clients.models import Agent
from foundation.errors import ProtocolError


def response_url(redirect_uri: str, state: str, **parameters: str) -> str:
    """The redirect URI with the response parameters.

    Every response carries `iss`, error responses too: an agent that uses several servers must know
    which one answered (RFC 9207).
    """
    if state:
        parameters["state"] = state
    parameters["iss"] = settings.ISSUER_URL
    joint = "&" if urlsplit(redirect_uri).query else "?"
    return redirect_uri.rstrip("?&") + joint + urlencode(parameters)


def error_url(redirect_uri: str, state: str, error: ProtocolError) -> str:
    return response_url(redirect_uri, state, **error.body())


def send_back(url: str) -> HttpResponse:
    """A 303 redirect, so that the browser does not repeat its POST body at the agent.

    It accepts the registered schemes; Django's own redirect class accepts only three.
    """
    response = HttpResponse(status=303)
    response["Location"] = url
    return unseen(response)


def page_back(request: HttpRequest, agent: Agent, url: str, *, by_itself: bool, failed: bool = False) -> HttpResponse:
    """A page that leads the browser back to the agent, for the cases in which a redirect does not
    work.

    After our own form (`by_itself`) the page continues without a click: form-action applies to the
    whole chain of redirects. If the agent registered itself, the page waits for a click and shows
    the host: such an agent may have sent the user here only to be redirected under our name (RFC
    9700 4.11.2).
    """
    context = {"agent": agent, "url": url, "place": redirects.place_of(url), "by_itself": by_itself, "failed": failed}
    return unseen(render(request, "oauth/page_back.html", context, status=200))


def allow_form_to(response: HttpResponse, redirect_uri: str) -> HttpResponse:
    """Adds the redirect URI's origin to form-action, because Chromium enforces form-action on the
    redirect that answers a form.
    """
    if may_redirect_a_form(redirect_uri):
        response._csp_update = {"form-action": [redirects.source_of(redirect_uri)]}  # type: ignore[attr-defined]
    return response


def may_redirect_a_form(redirect_uri: str) -> bool:
    """Whether form-action can name this URI. Content-Security-Policy cannot name an IPv6 address
    (CSP 3, 2.3.1).
    """
    return "[" not in redirects.source_of(redirect_uri)


def unseen(response: HttpResponse) -> HttpResponse:
    """Forbids caching and the Referer header, because the address carries a code."""
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response

"""/oidc/logout (OpenID Connect RP-Initiated Logout 1.0): an agent asks that the person be signed out here.

An ID token of ours for the person who is signed in is proof enough; anything less is asked on a page, whose
form another site cannot send. The browser is sent only to an address that the agent registered (clients/redirects.py);
and by itself only where that token, or the person, vouched for the request.
"""

from dataclasses import dataclass

from django.contrib.auth import logout as end_session
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from accounts import sessions
from accounts.lifecycle import record_sign_out
from clients import redirects
from clients.models import Agent
from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import read_body
from oauth.authorization_request import HINTS, parse_query
from oauth.redirecting import allow_form_to, page_back, send_back, unseen
from oauth.verifying import verify

_SALT = "oauth.logout"
_CONFIRM_WITHIN = 600  # seconds


@dataclass(frozen=True)
class Asked:
    """A request to sign out, checked. `hinted_sub`: whom a valid ID token of ours names."""

    agent: Agent | None
    hinted_sub: str | None
    redirect_uri: str
    state: str

    @property
    def target(self) -> str:
        if not self.redirect_uri:
            return ""
        joint = "&" if "?" in self.redirect_uri else "?"
        return self.redirect_uri + (f"{joint}{urlencode({'state': self.state})}" if self.state else "")


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def logout(request: HttpRequest) -> HttpResponse:
    try:
        if request.method == "POST":
            # A form of another site comes without the session's cookie; what follows by GET has it.
            body = read_body(request, "application/x-www-form-urlencoded").decode("ascii", errors="replace")
            response = HttpResponseRedirect(f"{reverse('rp-logout')}?{urlencode(parse_query(body).parameters)}")
            response.status_code = 303
            return unseen(response)
        asked = parse_asked(request.META.get("QUERY_STRING", ""))
    except ProtocolError as error:
        return unseen(render(request, "oauth/cannot_logout.html", {"why": error.description}, status=400))
    person = sessions.person(request)
    if person is None:
        return _signed_out(request, asked, vouched=asked.hinted_sub is not None)
    if asked.hinted_sub != person.sub:
        return _confirm(request, asked)
    record_sign_out(person, timezone.now())
    end_session(request)
    return _signed_out(request, asked, vouched=True)


def parse_asked(text: str) -> Asked:
    """Section 2. Raises InvalidRequest."""
    query = parse_query(text)
    if query.repeated - HINTS:
        raise InvalidRequest("a parameter is repeated")
    parameters = query.parameters
    hint = verify(parameters.get("id_token_hint", ""), "JWT", timezone.now())
    named = {parameters.get("client_id"), hint["aud"] if hint else None} - {None}
    if len(named) > 1:
        raise InvalidRequest("client_id is not the agent that the ID token was for")
    agent = Agent.objects.filter(client_id=named.pop()).first() if named else None
    redirect_uri = parameters.get("post_logout_redirect_uri", "")
    if redirect_uri and (agent is None or not _is_registered(redirect_uri, agent)):
        raise InvalidRequest("no agent that is named here registered the address that it wants you sent to")
    return Asked(agent, hint["sub"] if hint else None, redirect_uri, parameters.get("state", ""))


def _is_registered(redirect_uri: str, agent: Agent) -> bool:
    """As at /authorize: a native app learns its port late, and a scheme that the setting no longer has is refused."""
    return redirects.is_registered(redirect_uri, agent.post_logout_redirect_uris.split(), agent.private_use_schemes)


def _confirm(request: HttpRequest, asked: Asked) -> HttpResponse:
    kept = signing.dumps(request.META.get("QUERY_STRING", ""), salt=_SALT, compress=True)
    page = unseen(render(request, "oauth/logout.html", {"agent": asked.agent, "kept": kept}))
    return allow_form_to(page, asked.redirect_uri) if asked.redirect_uri else page


@require_POST
def confirm(request: HttpRequest) -> HttpResponse:
    """The person said so, on our own page."""
    try:
        asked = parse_asked(signing.loads(request.POST.get("request", ""), salt=_SALT, max_age=_CONFIRM_WITHIN))
    except (signing.BadSignature, ProtocolError):
        why = "this page was too old, or was changed"
        return unseen(render(request, "oauth/cannot_logout.html", {"why": why}, status=400))
    if (person := sessions.person(request)) is not None:
        record_sign_out(person, timezone.now())
    end_session(request)
    return _signed_out(request, asked, vouched=True)


def _signed_out(request: HttpRequest, asked: Asked, *, vouched: bool) -> HttpResponse:
    if not asked.target or asked.agent is None:
        return unseen(render(request, "oauth/signed_out.html"))
    return send_back(asked.target) if vouched else page_back(request, asked.agent, asked.target, by_itself=False)

"""/oidc/logout (OpenID Connect RP-Initiated Logout 1.0): an agent requests that the user be signed
out.

An ID token that this server issued to the signed-in user is sufficient proof. Without it, a page
asks the user to confirm; another site cannot send that page's form. The browser is redirected only
to a URI that the agent registered (clients/redirects.py). The redirect happens without a click only if
the ID token or the user confirmed the request.
"""

from dataclasses import dataclass
from datetime import datetime

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
from clients.lookup import find_stored_agent
from clients.models import Agent
from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import read_body
from oauth.authorization.authorization_response import allow_form_to, page_back, send_back, unseen
from oauth.authorization.parameters import HINTS, parse_query
from oauth.tokens.token_verification import verify

_SALT = "oauth.authorization.logout"
_CONFIRM_WITHIN_S = 600  # seconds


@dataclass(frozen=True)
class LogoutParameters:
    """A validated logout request. `hinted_sub`: the subject of a valid ID token of this server."""

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
            # A cross-site form arrives without the session cookie. The GET that follows carries it.
            body = read_body(request, "application/x-www-form-urlencoded").decode("ascii", errors="replace")
            response = HttpResponseRedirect(f"{reverse('rp-logout')}?{urlencode(parse_query(body).parameters)}")
            response.status_code = 303
            return unseen(response)
        parameters = parse_parameters(request.META.get("QUERY_STRING", ""), timezone.now())
    except ProtocolError as error:
        return unseen(render(request, "oauth/cannot_logout.html", {"problem": error.description}, status=400))
    user = sessions.signed_in_user(request)
    if user is None:
        return _signed_out(request, parameters, vouched=parameters.hinted_sub is not None)
    if parameters.hinted_sub != user.sub:
        return _confirm(request, parameters)
    record_sign_out(user, timezone.now())
    end_session(request)
    return _signed_out(request, parameters, vouched=True)


def parse_parameters(text: str, now: datetime) -> LogoutParameters:
    """Parses the parameters of RP-Initiated Logout 1.0, section 2. Raises InvalidRequest."""
    query = parse_query(text)
    if query.repeated - HINTS:
        raise InvalidRequest("a parameter is repeated")
    parameters = query.parameters
    hint = verify(parameters.get("id_token_hint", ""), "JWT", now)
    named = {parameters.get("client_id"), hint["aud"] if hint else None} - {None}
    if len(named) > 1:
        raise InvalidRequest("client_id is not the agent of the ID token")
    agent = find_stored_agent(str(named.pop())) if named else None
    redirect_uri = parameters.get("post_logout_redirect_uri", "")
    if redirect_uri and (agent is None or not _is_registered(redirect_uri, agent)):
        raise InvalidRequest("no agent of this request registered the address to which it wants to send you")
    return LogoutParameters(agent, hint["sub"] if hint else None, redirect_uri, parameters.get("state", ""))


def _is_registered(redirect_uri: str, agent: Agent) -> bool:
    """As at /authorize: a native app learns its port late, and a scheme that the setting no longer has is refused."""
    return redirects.is_registered(redirect_uri, agent.post_logout_redirect_uris.split(), agent.private_use_schemes)


def _confirm(request: HttpRequest, parameters: LogoutParameters) -> HttpResponse:
    stored = signing.dumps(request.META.get("QUERY_STRING", ""), salt=_SALT, compress=True)
    page = unseen(render(request, "oauth/logout.html", {"agent": parameters.agent, "stored_request": stored}))
    return allow_form_to(page, parameters.redirect_uri) if parameters.redirect_uri else page


@require_POST
def confirm(request: HttpRequest) -> HttpResponse:
    """The POST of the confirmation page."""
    try:
        text = signing.loads(request.POST.get("request", ""), salt=_SALT, max_age=_CONFIRM_WITHIN_S)
        parameters = parse_parameters(text, timezone.now())
    except (signing.BadSignature, ProtocolError):
        problem = "the page is too old or was changed"
        return unseen(render(request, "oauth/cannot_logout.html", {"problem": problem}, status=400))
    if (user := sessions.signed_in_user(request)) is not None:
        record_sign_out(user, timezone.now())
    end_session(request)
    return _signed_out(request, parameters, vouched=True)


def _signed_out(request: HttpRequest, parameters: LogoutParameters, *, vouched: bool) -> HttpResponse:
    if not parameters.target or parameters.agent is None:
        return unseen(render(request, "oauth/signed_out.html"))
    return (
        send_back(parameters.target)
        if vouched
        else page_back(request, parameters.agent, parameters.target, by_itself=False)
    )

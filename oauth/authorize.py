"""GET and POST /authorize (RFC 6749 4.1.1, OpenID Connect Core 3.1.2), and the consent page that it leads to.

The steps, in order: which agent and where back to (a mistake here never redirects); the request's
parameters; what this agent may ask for; who is signed in and what was consented to before; then the page,
the sign-in, or the answer to the agent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts import sessions
from accounts.models import User
from clients import redirects
from clients.metadata_documents import find_agent
from clients.models import AUTHORIZATION_CODE, REFRESH_TOKEN, Agent, AgentLink
from foundation.errors import InvalidRequest, InvalidScope, ProtocolError
from foundation.forms import read_body
from foundation.handles import digest
from oauth import consent_page, lifecycle
from oauth.authorization_request import Asked, Query, check_acr, check_challenge, parse_asked, parse_query
from oauth.errors import AccessDenied, ConsentRequired, LoginRequired, UnauthorizedClient
from oauth.interaction import Interaction, InteractionFacts, judge_interaction, needs_sign_in_since
from oauth.lifecycle import Proposal
from oauth.models import AuthorizationRequest
from oauth.redirecting import (
    allow_form_to,
    error_url,
    may_redirect_a_form,
    page_back,
    response_url,
    send_back,
    unseen,
)
from oauth.requesting import find_requested
from oauth.verifying import find_hinted_sub
from operations.models import OFFLINE_ACCESS

ACR = "session"  # signed in within SESSION_ASSURANCE_AGE
RESUME_WITHIN = 900  # seconds to sign in
_SALT = "oauth.authorize"


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    if request.method == "POST":
        # A form of another site comes without the session's cookie (SameSite=Lax); what follows by GET has it.
        try:
            body = read_body(request, "application/x-www-form-urlencoded").decode("ascii")
            return _send_to_resume(body, now)
        except (InvalidRequest, UnicodeDecodeError) as error:
            return _cannot(request, getattr(error, "description", "") or "the request is not a form")
    return _answer(request, request.META.get("QUERY_STRING", ""), now, after_a_form=False)


@never_cache
@require_http_methods(["GET", "HEAD"])
def resume(request: HttpRequest) -> HttpResponse:
    """The same request again, after the person signed in, or sent on from a POST."""
    try:
        kept = signing.loads(request.GET.get("request", ""), salt=_SALT, max_age=RESUME_WITHIN)
    except signing.BadSignature:
        return _cannot(request, "this link is too old, or was changed")
    return _answer(request, kept["query"], datetime.fromtimestamp(kept["at"], UTC), after_a_form=True)


def _resume_path(query: str, asked_at: datetime) -> str:
    kept = signing.dumps({"query": query, "at": asked_at.timestamp()}, salt=_SALT, compress=True)
    return f"{reverse('authorize-resume')}?{urlencode({'request': kept})}"


def _send_to_resume(query: str, asked_at: datetime) -> HttpResponse:
    parse_query(query)
    response = HttpResponseRedirect(_resume_path(query, asked_at))
    response.status_code = 303
    return unseen(response)


@dataclass(frozen=True)
class Back:
    """Where the answer goes: an active agent's own redirect URI."""

    agent: Agent
    redirect_uri: str
    state: str


def _answer(request: HttpRequest, text: str, asked_at: datetime, *, after_a_form: bool) -> HttpResponse:
    try:
        query = parse_query(text)
        back = find_back(query, request.META["REMOTE_ADDR"])
    except ProtocolError as error:
        return _cannot(request, error.description, error.status)
    try:
        return _go(request, query, text, back, asked_at, after_a_form=after_a_form)
    except ProtocolError as error:
        url = error_url(back.redirect_uri, back.state, error)
        if back.agent.registration_source != Agent.RegistrationSource.MANUAL:
            return page_back(request, back.agent, url, by_itself=False, failed=True)
        return page_back(request, back.agent, url, by_itself=True) if after_a_form else send_back(url)


def find_back(query: Query, caller: str) -> Back:
    """RFC 6749 4.1.2.1: where agent or redirect URI are wrong, the browser is sent nowhere. Raises InvalidRequest."""
    parameters = query.parameters
    if query.repeated & {"client_id", "redirect_uri", "state"}:
        raise InvalidRequest("client_id, redirect_uri or state is repeated")
    agent = find_agent(parameters.get("client_id", ""), caller, timezone.now())
    if agent is None or not agent.is_active:
        raise InvalidRequest("there is no such agent here, or it was suspended")
    redirect_uri = parameters.get("redirect_uri", "")
    if not redirects.is_registered(redirect_uri, agent.redirect_uris.split(), agent.private_use_schemes):
        raise InvalidRequest("the agent did not register the address that it wants you sent back to")
    return Back(agent, redirect_uri, parameters.get("state", ""))


def _cannot(request: HttpRequest, why: str, status: int = 400) -> HttpResponse:
    return unseen(render(request, "oauth/cannot_authorize.html", {"why": why}, status=status))


def _go(
    request: HttpRequest, query: Query, text: str, back: Back, asked_at: datetime, *, after_a_form: bool
) -> HttpResponse:
    now = timezone.now()
    if not back.agent.allows_grant_type(AUTHORIZATION_CODE):
        raise UnauthorizedClient()
    asked = parse_asked(query)
    check_challenge(asked, query.parameters.get("scope", ""), may_omit=back.agent.may_omit_pkce)
    person = sessions.person(request)
    proposal = _propose(request, person, asked, query.parameters, back, now)
    facts = _facts(request, person, proposal, asked, asked_at, now)
    match judge_interaction(facts, asked.prompts):
        case Interaction.SIGN_IN:
            return _sign_in(query.parameters, text, asked_at)
        case Interaction.LOGIN_REQUIRED:
            raise LoginRequired()
        case Interaction.CONSENT_REQUIRED:
            raise ConsentRequired()
        case Interaction.STOPPED:
            raise AccessDenied("the person has stopped this agent", detail=back.agent.client_id)
        case Interaction.GO_ON if proposal is not None:
            return _go_on(request, proposal, after_a_form=after_a_form)
        case Interaction.ASK | Interaction.GO_ON if proposal is not None:
            return redirect("consent", handle=lifecycle.propose(proposal, _session_digest(request), now))
        case Interaction.ASK | Interaction.GO_ON:
            raise RuntimeError("nobody is signed in, and was judged to be")
        case verdict:
            assert_never(verdict)


def _propose(
    request: HttpRequest, person: User | None, asked: Asked, parameters: Mapping[str, str], back: Back, now: datetime
) -> Proposal | None:
    """What may be granted of what is asked for; None where nobody is signed in. Raises a ProtocolError."""
    agent = back.agent
    may_stay = agent.allows_grant_type(REFRESH_TOKEN)
    requested = find_requested(agent, parameters, may_stay=may_stay, has_default=True)
    grantable = [scope.name for scope in requested.scopes if scope.runs_unasked]
    scopes = [*requested.identity_scopes, *grantable]
    if not scopes:
        raise InvalidScope("nothing here can be granted in the browser: ask for it by CIBA")
    signed_in_at = sessions.signed_in_at(request)
    if person is None or signed_in_at is None:
        return None
    return Proposal(
        agent=agent,
        user=person,
        resource=requested.resource if grantable else None,
        scopes=[*scopes, OFFLINE_ACCESS] if requested.stays else scopes,
        later_scopes=[scope.name for scope in requested.scopes if not scope.runs_unasked],
        may_stay=may_stay,
        redirect_uri=back.redirect_uri,
        client_state=back.state,
        nonce=asked.nonce,
        code_challenge=asked.code_challenge,
        dpop_jkt=asked.dpop_jkt,
        signed_in_at=signed_in_at,
        acr=ACR if sessions.is_recent(signed_in_at, now) else "",
    )


def _facts(
    request: HttpRequest,
    person: User | None,
    proposal: Proposal | None,
    asked: Asked,
    asked_at: datetime,
    now: datetime,
) -> InteractionFacts:
    wants_acr = check_acr(asked, frozenset({ACR}))
    acr_age = timedelta(seconds=settings.SESSION_ASSURANCE_AGE) if wants_acr else None
    signed_in_at = proposal.signed_in_at if proposal else None
    return InteractionFacts(
        asked_at=asked_at,
        signed_in_at=signed_in_at,
        needs_sign_in_since=needs_sign_in_since(asked, asked_at, acr_age),
        is_wanted_person=_is_wanted(asked, proposal, now),
        is_stopped=proposal is not None and _is_stopped(proposal),
        is_remembered=proposal is not None
        and _may_remember(proposal)
        and lifecycle.find_consented(proposal, now) is not None,
        may_consent=sessions.is_recent(signed_in_at, now),
    )


def _is_wanted(asked: Asked, proposal: Proposal | None, now: datetime) -> bool:
    """id_token_hint and the sub of `claims` name one person. Raises InvalidRequest for a hint that is not ours."""
    wanted = {asked.wanted_sub} - {None}
    if asked.unverified_id_token_hint is not None and proposal is not None:
        sub = find_hinted_sub(asked.unverified_id_token_hint, proposal.agent, now)
        if sub is None:
            raise InvalidRequest("id_token_hint is not an ID token that this server gave to this agent")
        wanted.add(sub)
    return proposal is None or wanted <= {proposal.user.sub}


def _is_stopped(proposal: Proposal) -> bool:
    return AgentLink.objects.filter(agent=proposal.agent, user=proposal.user, stopped_at__isnull=False).exists()


def _may_remember(proposal: Proposal) -> bool:
    """RFC 8252 8.6, RFC 6749 10.2: without the person only where it is certain who gets the code: the agent
    authenticates, or the browser goes to a host that it controls."""
    return not proposal.agent.is_public or redirects.is_claimed(proposal.redirect_uri)


def _sign_in(parameters: Mapping[str, str], text: str, asked_at: datetime) -> HttpResponse:
    target = {"next": _resume_path(text, asked_at)}
    if "login_hint" in parameters:
        target["login_hint"] = parameters["login_hint"]
    return unseen(HttpResponseRedirect(f"{reverse('login')}?{urlencode(target)}"))


def _go_on(request: HttpRequest, proposal: Proposal, *, after_a_form: bool) -> HttpResponse:
    code = lifecycle.go_on(proposal, timezone.now())
    if code is None:  # it ended just now
        raise ConsentRequired()
    url = response_url(proposal.redirect_uri, proposal.client_state, code=code)
    return page_back(request, proposal.agent, url, by_itself=True) if after_a_form else send_back(url)


def _session_digest(request: HttpRequest) -> bytes:
    return digest(request.session.session_key or "")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def consent(request: HttpRequest, handle: str) -> HttpResponse:
    """GET shows and changes nothing; POST with `answer` allow or deny, `scope` for each that is left ticked."""
    now = timezone.now()
    person = sessions.person(request)
    proposed = lifecycle.find_proposed(handle, person, _session_digest(request), now) if person else None
    if proposed is None:
        return unseen(render(request, "oauth/consent_gone.html", status=404))
    if request.method != "POST":
        page = render(request, "oauth/consent.html", consent_page.context_of(proposed, now))
        return allow_form_to(page, proposed.redirect_uri)
    choice = request.POST.get("answer")
    if choice not in ("allow", "deny"):
        return unseen(render(request, "oauth/consent_unclear.html", {"handle": handle}, status=400))
    answer = _allow if choice == "allow" else _deny
    return answer(request, proposed, now) or unseen(render(request, "oauth/consent_gone.html", status=404))


def _allow(request: HttpRequest, proposed: AuthorizationRequest, now: datetime) -> HttpResponse | None:
    allowed = {*request.POST.getlist("scope"), "openid"}
    if not allowed & set(proposed.scopes) - {OFFLINE_ACCESS}:
        return _deny(request, proposed, now)
    stays = request.POST.get("stay") == "yes"
    if stays:
        allowed.add(OFFLINE_ACCESS)
    code = lifecycle.consent(proposed, allowed, now, stays=stays, told=consent_page.told(proposed))
    return _leave(request, proposed, code=code) if code else None


def _deny(request: HttpRequest, proposed: AuthorizationRequest, now: datetime) -> HttpResponse | None:
    if not lifecycle.decline(proposed, now, told=consent_page.told(proposed)):
        return None
    return _leave(request, proposed, **AccessDenied().body())


def _leave(request: HttpRequest, proposed: AuthorizationRequest, **parameters: str) -> HttpResponse:
    """The answer to our form: a redirect where the page's policy could name its place, else a page that goes on."""
    url = response_url(proposed.redirect_uri, proposed.client_state, **parameters)
    if may_redirect_a_form(proposed.redirect_uri):
        return send_back(url)
    return page_back(request, proposed.agent, url, by_itself=True)

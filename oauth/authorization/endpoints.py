"""GET and POST /authorize (RFC 6749 4.1.1, OpenID Connect Core 3.1.2), and the consent page.

The steps, in order:

- find the agent and its redirect URI (an error here never redirects);
- parse the request's parameters;
- check the requested access against what this agent may request;
- find the signed-in user and an earlier consent;
- answer with the consent page, the sign-in page, or the authorization response.
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
from clients.lookup import find_agent
from clients.models import AUTHORIZATION_CODE, REFRESH_TOKEN, Agent, AgentLink
from foundation.errors import InvalidRequest, InvalidScope, ProtocolError
from foundation.forms import read_body
from foundation.handles import digest
from oauth.authorization import consent_page
from oauth.authorization.authorization_response import (
    allow_form_to,
    error_url,
    may_redirect_a_form,
    page_back,
    response_url,
    send_back,
    unseen,
)
from oauth.authorization.interaction import Interaction, InteractionFacts, judge_interaction, needs_sign_in_since
from oauth.authorization.parameters import (
    AuthorizationParameters,
    Query,
    check_acr,
    check_challenge,
    parse_parameters,
    parse_query,
)
from oauth.errors import AccessDenied, ConsentRequired, LoginRequired, UnauthorizedClient
from oauth.grants import lifecycle
from oauth.grants.lifecycle import Proposal
from oauth.models import AuthorizationRequest
from oauth.requests.registered_agent import check_registration
from oauth.requests.requested_access import find_requested_access
from oauth.tokens.token_verification import find_hinted_sub
from operations.models import OFFLINE_ACCESS

ACR = "session"  # signed in within SESSION_ASSURANCE_AGE
RESUME_WITHIN_S = 900  # seconds that a sign-in may take
_SALT = "oauth.authorization.endpoints"


@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    if request.method == "POST":
        # A cross-site form arrives without the session cookie (SameSite=Lax). The GET that follows
        # carries it.
        try:
            body = read_body(request, "application/x-www-form-urlencoded").decode("ascii")
            return _send_to_resume(body, now)
        except (InvalidRequest, UnicodeDecodeError) as error:
            return _cannot(request, getattr(error, "description", "") or "the request is not a form")
    return _answer(request, request.META.get("QUERY_STRING", ""), now, after_a_form=False)


@never_cache
@require_http_methods(["GET", "HEAD"])
def resume(request: HttpRequest) -> HttpResponse:
    """Repeats the same request after a sign-in, or after a redirect from a POST."""
    try:
        stored = signing.loads(request.GET.get("request", ""), salt=_SALT, max_age=RESUME_WITHIN_S)
    except signing.BadSignature:
        return _cannot(request, "the link is too old or was changed")
    return _answer(request, stored["query"], datetime.fromtimestamp(stored["at"], UTC), after_a_form=True)


def _resume_path(query: str, requested_at: datetime) -> str:
    stored = signing.dumps({"query": query, "at": requested_at.timestamp()}, salt=_SALT, compress=True)
    return f"{reverse('authorize-resume')}?{urlencode({'request': stored})}"


def _send_to_resume(query: str, requested_at: datetime) -> HttpResponse:
    parse_query(query)
    response = HttpResponseRedirect(_resume_path(query, requested_at))
    response.status_code = 303
    return unseen(response)


@dataclass(frozen=True)
class ReturnAddress:
    """The destination of the authorization response: an active agent and its own redirect URI."""

    agent: Agent
    redirect_uri: str
    state: str


def _answer(request: HttpRequest, text: str, requested_at: datetime, *, after_a_form: bool) -> HttpResponse:
    try:
        query = parse_query(text)
        back = find_back(query, request.META["REMOTE_ADDR"])
    except ProtocolError as error:
        return _cannot(request, error.description, error.status)
    try:
        return _go(request, query, text, back, requested_at, after_a_form=after_a_form)
    except ProtocolError as error:
        url = error_url(back.redirect_uri, back.state, error)
        if back.agent.registration_source != Agent.RegistrationSource.MANUAL:
            return page_back(request, back.agent, url, by_itself=False, failed=True)
        return page_back(request, back.agent, url, by_itself=True) if after_a_form else send_back(url)


def find_back(query: Query, caller: str) -> ReturnAddress:
    """Finds the agent and its redirect URI. Raises InvalidRequest.

    If either is wrong, the browser is not redirected (RFC 6749 4.1.2.1).
    """
    parameters = query.parameters
    if query.repeated & {"client_id", "redirect_uri", "state"}:
        raise InvalidRequest("client_id, redirect_uri or state is repeated")
    agent = find_agent(parameters.get("client_id", ""), caller, timezone.now())
    if agent is None or not agent.is_active:
        raise InvalidRequest("the agent is unknown or suspended")
    redirect_uri = parameters.get("redirect_uri", "")
    if not redirects.is_registered(redirect_uri, agent.redirect_uris.split(), agent.private_use_schemes):
        raise InvalidRequest("the agent did not register the address to which it wants to return you")
    return ReturnAddress(agent, redirect_uri, parameters.get("state", ""))


def _cannot(request: HttpRequest, problem: str, status: int = 400) -> HttpResponse:
    return unseen(render(request, "oauth/cannot_authorize.html", {"problem": problem}, status=status))


def _go(
    request: HttpRequest, query: Query, text: str, back: ReturnAddress, requested_at: datetime, *, after_a_form: bool
) -> HttpResponse:
    now = timezone.now()
    if not back.agent.allows_grant_type(AUTHORIZATION_CODE):
        raise UnauthorizedClient()
    check_registration(back.agent)
    parsed = parse_parameters(query)
    check_challenge(parsed, query.parameters.get("scope", ""), may_omit=back.agent.may_omit_pkce)
    user = sessions.signed_in_user(request)
    proposal = _propose(request, user, parsed, query.parameters, back, now)
    facts = _facts(proposal, parsed, requested_at, now)
    match judge_interaction(facts, parsed.prompts):
        case Interaction.SIGN_IN:
            return _sign_in(query.parameters, text, requested_at)
        case Interaction.LOGIN_REQUIRED:
            raise LoginRequired()
        case Interaction.CONSENT_REQUIRED:
            raise ConsentRequired()
        case Interaction.STOPPED:
            raise AccessDenied("the user has stopped this agent", detail=back.agent.client_id)
        case Interaction.REUSE_CONSENT if proposal is not None:
            return _reuse_consent(request, proposal, after_a_form=after_a_form)
        case Interaction.ASK | Interaction.REUSE_CONSENT if proposal is not None:
            return redirect("consent", handle=lifecycle.propose(proposal, _session_digest(request), now))
        case Interaction.ASK | Interaction.REUSE_CONSENT:
            raise RuntimeError("no user is signed in, although the verdict says so")
        case verdict:
            assert_never(verdict)


def _propose(
    request: HttpRequest,
    user: User | None,
    parsed: AuthorizationParameters,
    parameters: Mapping[str, str],
    back: ReturnAddress,
    now: datetime,
) -> Proposal | None:
    """The part of the request that may be granted; None if no user is signed in.

    Raises a ProtocolError.
    """
    agent = back.agent
    may_use_offline_access = agent.allows_grant_type(REFRESH_TOKEN)
    requested = find_requested_access(
        agent, parameters, may_use_offline_access=may_use_offline_access, has_default=True
    )
    grantable = [scope.name for scope in requested.scopes if scope.runs_unasked]
    scopes = [*requested.identity_scopes, *grantable]
    if not scopes:
        raise InvalidScope("none of the scopes can be granted in the browser: use CIBA")
    signed_in_at = sessions.signed_in_at(request)
    if user is None or signed_in_at is None:
        return None
    return Proposal(
        agent=agent,
        user=user,
        resource=requested.resource if grantable else None,
        scopes=[*scopes, OFFLINE_ACCESS] if requested.offline else scopes,
        later_scopes=[scope.name for scope in requested.scopes if not scope.runs_unasked],
        may_use_offline_access=may_use_offline_access,
        redirect_uri=back.redirect_uri,
        client_state=back.state,
        nonce=parsed.nonce,
        code_challenge=parsed.code_challenge,
        dpop_jkt=parsed.dpop_jkt,
        signed_in_at=signed_in_at,
        acr=ACR if sessions.is_recent(signed_in_at, now) else "",
    )


def _facts(
    proposal: Proposal | None,
    parsed: AuthorizationParameters,
    requested_at: datetime,
    now: datetime,
) -> InteractionFacts:
    wants_acr = check_acr(parsed, frozenset({ACR}))
    acr_age = timedelta(seconds=settings.SESSION_ASSURANCE_AGE) if wants_acr else None
    signed_in_at = proposal.signed_in_at if proposal else None
    return InteractionFacts(
        requested_at=requested_at,
        signed_in_at=signed_in_at,
        needs_sign_in_since=needs_sign_in_since(parsed, requested_at, acr_age),
        is_requested_user=_is_requested(parsed, proposal, now),
        is_stopped=proposal is not None and _is_stopped(proposal),
        is_remembered=proposal is not None
        and _may_remember(proposal)
        and lifecycle.find_consented(proposal, now) is not None,
        may_consent=sessions.is_recent(signed_in_at, now),
    )


def _is_requested(parsed: AuthorizationParameters, proposal: Proposal | None, now: datetime) -> bool:
    """Whether the signed-in user is the one that id_token_hint and the `sub` of `claims` name.

    Raises InvalidRequest for a hint that this server did not sign.
    """
    requested_subs = {parsed.requested_sub} - {None}
    if parsed.unverified_id_token_hint is not None and proposal is not None:
        sub = find_hinted_sub(parsed.unverified_id_token_hint, proposal.agent, now)
        if sub is None:
            raise InvalidRequest("id_token_hint is not an ID token that this server gave to this agent")
        requested_subs.add(sub)
    return proposal is None or requested_subs <= {proposal.user.sub}


def _is_stopped(proposal: Proposal) -> bool:
    return AgentLink.objects.filter(agent=proposal.agent, user=proposal.user, stopped_at__isnull=False).exists()


def _may_remember(proposal: Proposal) -> bool:
    """Whether an earlier consent may be reused without showing the consent page.

    RFC 8252 8.6 and RFC 6749 10.2 allow it only if the code certainly reaches the agent: the agent
    authenticates, or the redirect goes to a host that it controls.
    """
    return not proposal.agent.is_public or redirects.is_claimed(proposal.redirect_uri)


def _sign_in(parameters: Mapping[str, str], text: str, requested_at: datetime) -> HttpResponse:
    target = {"next": _resume_path(text, requested_at)}
    if "login_hint" in parameters:
        target["login_hint"] = parameters["login_hint"]
    return unseen(HttpResponseRedirect(f"{reverse('login')}?{urlencode(target)}"))


def _reuse_consent(request: HttpRequest, proposal: Proposal, *, after_a_form: bool) -> HttpResponse:
    code = lifecycle.reuse_consent(proposal, timezone.now())
    if code is None:  # the earlier grant ended between the two reads
        raise ConsentRequired()
    url = response_url(proposal.redirect_uri, proposal.client_state, code=code)
    return page_back(request, proposal.agent, url, by_itself=True) if after_a_form else send_back(url)


def _session_digest(request: HttpRequest) -> bytes:
    return digest(request.session.session_key or "")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def consent(request: HttpRequest, handle: str) -> HttpResponse:
    """GET shows the page and changes nothing.

    POST takes `answer` (allow or deny) and one `scope` for each scope that is still ticked.
    """
    now = timezone.now()
    user = sessions.signed_in_user(request)
    proposed = lifecycle.find_proposed(handle, user, _session_digest(request), now) if user else None
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
    ticked = {*request.POST.getlist("scope"), "openid"}
    if not ticked & set(proposed.scopes) - {OFFLINE_ACCESS}:
        return _deny(request, proposed, now)
    offline = request.POST.get("offline_access") == "yes"
    if offline:
        ticked.add(OFFLINE_ACCESS)
    code = lifecycle.consent(proposed, ticked, now, offline=offline, detail=consent_page.detail(proposed))
    return _leave(request, proposed, code=code) if code else None


def _deny(request: HttpRequest, proposed: AuthorizationRequest, now: datetime) -> HttpResponse | None:
    if not lifecycle.decline(proposed, now, detail=consent_page.detail(proposed)):
        return None
    return _leave(request, proposed, **AccessDenied().body())


def _leave(request: HttpRequest, proposed: AuthorizationRequest, **parameters: str) -> HttpResponse:
    """The authorization response after our own form: a redirect if form-action can name its target,
    otherwise a page that continues by itself.
    """
    url = response_url(proposed.redirect_uri, proposed.client_state, **parameters)
    if may_redirect_a_form(proposed.redirect_uri):
        return send_back(url)
    return page_back(request, proposed.agent, url, by_itself=True)

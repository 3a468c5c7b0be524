"""The content of the consent page: the agent, the redirect host, the scopes that may be granted
now, and the scopes that need an approval each time.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from clients import redirects
from clients.models import CIBA, Agent
from oauth.models import AuthorizationRequest
from operations.models import OFFLINE_ACCESS, Scope
from operations.wording import IDENTITY_WORDS

Source = Agent.RegistrationSource


def context_of(proposed: AuthorizationRequest, now: datetime) -> dict[str, Any]:
    agent = proposed.agent
    scopes = {s.name: s for s in Scope.objects.filter(name__in=[*proposed.scopes, *proposed.later_scopes])}
    return {
        "proposed": proposed,
        "agent": agent,
        "place": redirects.place_of(proposed.redirect_uri),
        "is_loopback": redirects.is_loopback(proposed.redirect_uri),
        "is_app": not redirects.is_loopback(proposed.redirect_uri) and not redirects.is_claimed(proposed.redirect_uri),
        "scheme": redirects.scheme_of(proposed.redirect_uri),
        "verified_host": agent.verified_host,
        "registered_itself": agent.registration_source != Source.MANUAL,
        "known": "openid" in proposed.scopes,
        "may_ask": agent.allows_grant_type(CIBA),
        "access": [_line(name, scopes) for name in proposed.scopes if name not in ("openid", OFFLINE_ACCESS)],
        "later": [scopes[name] for name in proposed.later_scopes if name in scopes],
        "until": now + timedelta(seconds=settings.GRANT_LIFETIME),
    }


def _line(name: str, scopes: dict[str, Scope]) -> dict[str, str]:
    if name in IDENTITY_WORDS:
        return {"name": name, "words": IDENTITY_WORDS[name], "risk": "routine"}
    return {"name": name, "words": scopes[name].description, "risk": scopes[name].risk}


def detail(proposed: AuthorizationRequest) -> dict[str, str]:
    """The event details that the user reads at /activity."""
    words = [IDENTITY_WORDS[name] for name in proposed.scopes if name in IDENTITY_WORDS]
    words += Scope.objects.filter(name__in=proposed.scopes).values_list("description", flat=True)
    return {"agent": str(proposed.agent), "headline": ", ".join(words)}

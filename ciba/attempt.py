"""A backchannel authentication request on its way through the steps of POST /bc-authorize (steps.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from accounts.models import User
from ciba.hints import HintedSubject
from ciba.parameters import BackchannelParameters
from clients.models import Agent
from oauth.requests.requested_access import RequestedAccess


@dataclass(frozen=True)
class BackchannelAttempt:
    """An authenticated agent's request. Each step returns it with what the step has found.

    It starts with nothing, no access and no user, so that a step that is left out opens nothing.
    """

    agent: Agent
    now: datetime
    parameters: Mapping[str, str]  # of the form, then of the request object if there is one
    unverified_key: str | None = None  # the Idempotency-Key
    request_object_digest: str = ""  # empty: the request is not signed
    parsed: BackchannelParameters = field(default_factory=BackchannelParameters)
    requested: RequestedAccess = field(default_factory=RequestedAccess)
    hinted: HintedSubject | None = None  # None: the subject of another issuer
    user: User | None = None  # one whom the agent may ask (clients/reachable_users.py)

"""POST /bc-authorize (CIBA Core 7): an agent sends a backchannel request.

The endpoint authenticates the agent, takes the steps of steps.py, and records a refusal. The
response is sent before the user is prompted.
"""

import math
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from audit import events
from audit.record import About, record_alone
from ciba.attempt import BackchannelAttempt
from ciba.lifecycle import OpenedRequest
from ciba.steps import take_steps
from clients.authentication import authenticate_agent
from clients.models import Agent
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import ProtocolError
from foundation.forms import parse_form
from foundation.idempotency import parse_idempotency_key


@protocol_endpoint("bc-authorize", "POST", hides_users=True)
def backchannel_authentication(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    parameters = parse_form(request)
    agent = authenticate_agent(request, parameters, endpoint_url=f"{settings.ISSUER_URL}/bc-authorize", now=now)
    try:
        opened = take_steps(BackchannelAttempt(agent, now, parameters, parse_idempotency_key(request)))
    except ProtocolError as error:
        about = About(f"agent:{agent.client_id}", client_id=agent.client_id)
        record_alone(events.REQUEST_REFUSED, about, now, error=error.code, detail=error.detail or error.description)
        raise
    return json_response(acknowledgement(opened, now))


def acknowledgement(opened: OpenedRequest, now: datetime) -> dict[str, Any]:
    """The response of CIBA Core 7.3.

    Only ping and poll agents get an `interval`. A repeated request gets the time that is left as
    `expires_in`.
    """
    left = opened.request.auth_req_id_expires_at - now
    answer = {"auth_req_id": opened.auth_req_id, "expires_in": math.ceil(left.total_seconds())}
    if opened.request.delivery_mode != Agent.DeliveryMode.PUSH:
        answer["interval"] = opened.request.interval
    return answer

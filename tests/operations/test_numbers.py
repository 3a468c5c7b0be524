"""A number is the same in the agent's request, the database, the prompt, the token and the resource server's digest."""

import json
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from ciba.models import BackchannelRequest
from foundation.canonical import operation_digest
from oauth.tokens.token_verification import verify
from tests.support.world import Caller, ResourceServer, allow_everything, make_type, sign_in

pytestmark = pytest.mark.django_db

METERED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["amount"],
    "properties": {"amount": {"type": "number"}},
}


@pytest.fixture
def metered(agent: Caller, bank: ResourceServer) -> Caller:
    make_type(bank.resource, "metered", METERED, summary="Use {amount}")
    return allow_everything(agent)


@pytest.mark.parametrize(
    ("written", "content"),
    [
        ("1", "1"),
        ("1.0", "1"),
        ("1e2", "100"),
        ("0.1", "0.1"),
        ("1e-7", "1e-7"),
        ("-0.0", "0"),
        ("123456789012345", "123456789012345"),
        ("4.35", "4.35"),
        ("9007199254740991", "9007199254740991"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157", "1.7976931348623157"),
    ],
)
def test_it_survives_all_the_way(metered: Caller, user: User, bank: ResourceServer, written: str, content: str) -> None:
    details = f'[{{"type":"metered","amount":{written}}}]'
    sent = metered.ask(user, authorization_details=details)
    assert sent.status_code == 200, sent.content
    request = BackchannelRequest.objects.get()
    assert request.content["operations"][0]["summary"] == f"Use {content}"
    page = sign_in(user).post(f"/prompts/{request.prompts.get().id}", {"answer": "approve"}, follow=True)
    assert f"Use {content}" in page.content.decode()
    issued = metered.poll(sent.json()["auth_req_id"])
    assert issued.status_code == 200, issued.content
    # As a resource server does it, from the very text that the agent sends to it.
    own = operation_digest(
        authorization_details=json.loads(details),
        client_id=metered.agent.client_id,
        resource=bank.resource.identifier,
        sub=user.sub,
    )
    claims = verify(issued.json()["access_token"], "at+jwt", timezone.now())
    assert claims is not None and claims["operation_digest"] == own
    assert bank.use(issued.json()["access_token"], own).status_code == 201


@pytest.mark.parametrize(
    "written", ["1e16", "1e22", "9007199254740992", "-9007199254740992", "9007199254740992.0", "1e308", "1e999"]
)
def test_one_that_two_programs_may_read_differently_is_refused(metered: Caller, user: User, written: str) -> None:
    """PostgreSQL gives 1e16 back as an integer, which RFC 8785 cannot write: minting would fail after the yes."""
    details: Any = f'[{{"type":"metered","amount":{written}}}]'
    for refused in (
        metered.ask(user, authorization_details=details),
        metered.client_credentials(authorization_details=details),
    ):
        assert refused.status_code == 400 and refused.json()["error"] == "invalid_authorization_details"
    assert not BackchannelRequest.objects.exists()

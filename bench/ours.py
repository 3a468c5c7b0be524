"""Our side of `make bench`."""

import copy
import itertools
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from load import Connection, exchange_all
from parties import CALLBACK, CHALLENGE, Parties
from product import superuser_url

DIGEST = "d" * 43  # the operation_digest of every grant
MANY = 1_000_000
LEASES_PER_AGENT = 50  # an agent may request 60 in a minute (credentials/leases/policy.py)
_PROMPT = """
SELECT prompt.id FROM ciba_prompt prompt JOIN ciba_backchannelrequest request ON request.id = prompt.request_id
WHERE request.auth_req_id_digest = %s
"""


class Ours:
    def __init__(self, url: str, data_dir: Path, server: int, parties: Parties) -> None:
        self.port, self.server, self.parties = int(url.rpartition(":")[2]), server, parties
        self.database = psycopg.connect(superuser_url(data_dir), autocommit=True)

    def codes(self, count: int, scope: str) -> list[str]:
        from django.utils import timezone

        from foundation.handles import digest, new_handle
        from oauth.models import AuthorizationCode

        now = timezone.now()
        codes = [new_handle() for _ in range(count)]
        AuthorizationCode.objects.bulk_create(
            AuthorizationCode(
                code_digest=digest(code), grant=grant, redirect_uri=CALLBACK, code_challenge=CHALLENGE,
                created_at=now, expires_at=now + timedelta(hours=1),
            )
            for code, grant in zip(codes, self.grants(count, scope), strict=True)
        )  # fmt: skip
        return codes

    def refresh_tokens(self, count: int, scope: str) -> list[str]:
        from django.utils import timezone

        from foundation.handles import digest, new_handle
        from oauth.models import RefreshToken

        now = timezone.now()
        tokens = [new_handle() for _ in range(count)]
        RefreshToken.objects.bulk_create(
            RefreshToken(token_digest=digest(token), grant=grant, created_at=now, expires_at=now + timedelta(days=1))
            for token, grant in zip(tokens, self.grants(count, scope), strict=True)
        )
        return tokens

    def grants(self, count: int, scope: str, **changes: Any) -> list[Any]:
        """Of the users in turn, with their consent."""
        from django.utils import timezone

        from foundation.handles import new_id
        from oauth.models import Grant

        now, parties, scopes = timezone.now(), self.parties, scope.split()
        fields = {
            "agent": parties.agent, "resource": parties.resource if parties.scope in scopes else None, "scopes": scopes,
            "operation_digest": DIGEST, "is_offline": "offline_access" in scopes, "created_at": now,
            "consented_at": now, "signed_in_at": now, "expires_at": now + timedelta(days=1),
        } | changes  # fmt: skip
        users = itertools.islice(itertools.cycle(parties.users), count)
        return Grant.objects.bulk_create(Grant(id=new_id(), user=user, **fields) for user in users)

    def operation_tokens(self, count: int, details: dict[str, Any], resource: Any, **changes: Any) -> list[str]:
        """Access tokens of as many grants, each for one use of this operation. Their operation_digest is DIGEST."""
        from django.utils import timezone

        from oauth.tokens.issuance import Issue, mint
        from oauth.tokens.key_binding import UNBOUND

        now = timezone.now()
        changes |= {"resource": resource, "authorization_details": [details], "uses_left": 1}
        grants = self.grants(count, "", **changes)
        issues = [
            Issue(grant.agent, [], resource.identifier, now + timedelta(hours=1), grant.user, grant) for grant in grants
        ]
        return [mint(issue, UNBOUND, now)[0]["access_token"] for issue in issues]

    def lease_tokens(self, count: int) -> tuple[str, list[str]]:
        """The name of the demo's role, and access tokens for it: few of each agent, which may not ask often."""
        from clients.models import Agent
        from credentials.models import Backend, Role

        Role.objects.update(max_per_agent=MANY, max_per_user=MANY, max_leases=MANY)
        Backend.objects.update(max_leases=MANY)
        role = Role.objects.select_related("operation_type__resource").get()
        details = {"type": role.operation_type.name, "purpose": "to measure"}
        tokens = []
        for start in range(0, count, LEASES_PER_AGENT):
            agent = Agent.objects.create(name="Bench of leases")
            agent.operation_types.add(role.operation_type)
            few = min(LEASES_PER_AGENT, count - start)
            tokens += self.operation_tokens(few, details, role.operation_type.resource, agent=agent)
        return role.name, tokens

    def open_requests(self, count: int, scope: str) -> list[str]:
        return [auth_req_id for auth_req_id, _ in self.open_prompts(count, {"scope": scope})]

    def open_prompts(self, count: int, form: dict[str, str]) -> list[tuple[str, str]]:
        """(auth_req_id, prompt id) of so many copies of one that is really requested, for the users in turn."""
        from ciba.models import BackchannelRequest, Prompt
        from foundation.handles import digest, new_handle, new_id, random_bytes

        parties = self.parties
        first = parties.post("/bc-authorize", form | {"login_hint": parties.users[0].email})
        (answer,) = exchange_all(self.port, [first], 200, "auth_req_id")
        request = BackchannelRequest.objects.get(auth_req_id_digest=digest(json.loads(answer)["auth_req_id"]))
        prompt = Prompt.objects.get(request=request)
        handles = [new_handle() for _ in range(count)]
        requests, prompts = [], []
        for number, handle in enumerate(handles):
            user = parties.users[number % len(parties.users)]
            requests.append(_copied(request, id=new_id(), auth_req_id_digest=digest(handle), user=user))
            prompts.append(
                _copied(prompt, id=new_id(), request=requests[-1], approver=user, prompt_digest=random_bytes(32))
            )
        BackchannelRequest.objects.bulk_create(requests)
        Prompt.objects.bulk_create(prompts)
        return [(handle, str(one.pk)) for handle, one in zip(handles, prompts, strict=True)]

    async def approve(self, connection: Connection, auth_req_id: str, number: int) -> None:
        """As the prompt's page does it, which has the prompt's id from the inbox; here it is from the database."""
        await connection.expect(self.parties.approval(self.find_prompt(auth_req_id), number), 200, '"approved"')

    def find_prompt(self, auth_req_id: str) -> str:
        from foundation.handles import digest

        found = self.database.execute(_PROMPT, [digest(auth_req_id)]).fetchone()
        if found is None:
            raise SystemExit("there is no prompt of this request")
        return str(found[0])


def _copied(row: Any, **changes: Any) -> Any:
    made = copy.deepcopy(row)
    made._state.adding = True
    for name, value in changes.items():
        setattr(made, name, value)
    return made

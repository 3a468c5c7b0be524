"""What `make bench` measures: each scenario as the load of one round, made for one of the two servers.

Where the peer cannot do the same, the scenario is ours only. What may be sent once (codes, refresh tokens,
auth_req_ids, assertions, proofs) is made before the round. Every pending request is polled once, so that no poll is too
early: our poll throttle works all the same, and the peer has none.
"""

import asyncio
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from load import Connection, Flow, Load, exchange_all, post, post_json
from ours import DIGEST, Ours
from parties import CALLBACK, VERIFIER, Side

Make = Callable[[Any, int], Load | Flow]
TOKENS = 100  # access tokens that are used again and again

CIBA = "urn:openid:params:grant-type:ciba"
TOKEN, BACKCHANNEL = "/oauth/token", "/bc-authorize"
PAYMENT = {
    "type": "payment", "amount": "48.00", "currency": "EUR", "creditor_name": "Acme Office Supplies",
    "creditor_iban": "DE89370400440532013000",
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    make: Make
    is_ours_only: bool = False


def _access(side: Side) -> str:
    return f"openid {side.parties.scope}"


# --- tokens


def client_secret(side: Side, _count: int) -> Load:
    return Load([side.parties.post(TOKEN, _credentials(side))], 200, "access_token")


def private_key_jwt(side: Side, count: int) -> Load:
    requests = [side.parties.post_assertion(TOKEN, _credentials(side)) for _ in range(count)]
    return Load(requests, 200, "access_token", is_single_use=True)


def dpop(side: Side, count: int) -> Load:
    from joserfc.jwk import ECKey

    from tests.support.keys import Prover

    parties = side.parties
    prover = Prover(ECKey.generate_key("P-256", auto_kid=True), issuer=parties.issuer)

    def request() -> bytes:
        return parties.post(TOKEN, _credentials(side), DPoP=prover.proof())

    prover.nonce = asyncio.run(_find_nonce(side.port, request()))
    return Load([request() for _ in range(count)], 200, '"DPoP"', is_single_use=True)


async def _find_nonce(port: int, without: bytes) -> str:
    connection = await Connection.open(port)
    answer = await connection.exchange(without)
    connection.close()
    return answer.header("DPoP-Nonce")


def _credentials(side: Side) -> dict[str, str]:
    return {"grant_type": "client_credentials", "scope": side.parties.scope}


def code(side: Side, count: int) -> Load:
    codes = side.codes(count, f"{_access(side)} offline_access")
    requests = [side.parties.post(TOKEN, _exchange(one)) for one in codes]
    return Load(requests, 200, "refresh_token", is_single_use=True)


def _exchange(code: str) -> dict[str, str]:
    return {
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER,
    }  # fmt: skip


def refresh(side: Side, count: int) -> Load:
    tokens = side.refresh_tokens(count, f"{_access(side)} offline_access")
    forms = [{"grant_type": "refresh_token", "refresh_token": token} for token in tokens]
    return Load([side.parties.post(TOKEN, form) for form in forms], 200, "refresh_token", is_single_use=True)


# --- resource servers


def _access_tokens(side: Side, count: int, scope: str) -> list[str]:
    """By the codes of as many grants."""
    requests = [side.parties.post(TOKEN, _exchange(code)) for code in side.codes(count, scope)]
    return [json.loads(body)["access_token"] for body in exchange_all(side.port, requests, 200, "access_token")]


def introspection(side: Side, count: int) -> Load:
    """The peer introspects opaque tokens only; and ours are JWTs."""
    scope = _access(side) if isinstance(side, Ours) else "openid"
    parties = side.parties
    requests = [
        post("/oauth/introspect", parties.host, {"token": token}, Authorization=parties.resource_credential)
        for token in _access_tokens(side, min(count, TOKENS), scope)
    ]
    return Load(requests, 200, '"scope"')  # which an inactive token's answer has not


def userinfo(side: Side, count: int) -> Load:
    tokens = _access_tokens(side, min(count, TOKENS), "openid")
    return Load([side.parties.get("/userinfo", Authorization=f"Bearer {token}") for token in tokens], 200, '"sub"')


def use(side: Ours, count: int) -> Load:
    parties = side.parties
    requests = [
        post_json(
            "/v1/uses", parties.host, {"token": token, "operation_digest": DIGEST},
            **{"Authorization": parties.resource_credential, "Idempotency-Key": secrets.token_hex(16)},
        )
        for token in side.operation_tokens(count, PAYMENT, parties.resource)
    ]  # fmt: skip
    return Load(requests, 201, "use_id", is_single_use=True)


# --- a question


def _hints(side: Side) -> list[str]:
    return [user.email for user in side.parties.users]


def backchannel(side: Side, _count: int) -> Load:
    form = {"scope": _access(side)}
    requests = [side.parties.post(BACKCHANNEL, form | {"login_hint": hint}) for hint in _hints(side)]
    return Load(requests, 200, "auth_req_id")


def operation(side: Ours, _count: int) -> Load:
    requests = [side.parties.post(BACKCHANNEL, _payment() | {"login_hint": hint}) for hint in _hints(side)]
    return Load(requests, 200, "auth_req_id")


def _payment() -> dict[str, str]:
    return {"scope": "openid", "authorization_details": json.dumps([PAYMENT])}


def pending_poll(side: Side, count: int) -> Load:
    forms = [{"grant_type": CIBA, "auth_req_id": one} for one in side.open_requests(count, _access(side))]
    requests = [side.parties.post(TOKEN, form) for form in forms]
    return Load(requests, 400, "authorization_pending", is_single_use=True)


def ciba_flow(side: Side, _count: int) -> Flow:
    """A request, its approval, and the poll that gets the tokens."""
    parties, form = side.parties, {"scope": _access(side)}

    async def run(connection: Connection, number: int) -> None:
        hint = parties.users[number % len(parties.users)].email
        request = parties.post(BACKCHANNEL, form | {"login_hint": hint})
        auth_req_id = json.loads(await connection.expect(request, 200, "auth_req_id"))["auth_req_id"]
        await side.approve(connection, auth_req_id, number)
        poll = parties.post(TOKEN, {"grant_type": CIBA, "auth_req_id": auth_req_id})
        await connection.expect(poll, 200, "id_token")

    return Flow(run)


def approval(side: Ours, count: int) -> Load:
    opened = side.open_prompts(count, _payment())
    requests = [side.parties.approval(prompt_id, number) for number, (_, prompt_id) in enumerate(opened)]
    return Load(requests, 200, '"approved"', is_single_use=True)


# --- leases


def lease(side: Ours, count: int) -> Flow:
    """A lease is issued and ended again. Then its account is gone, unless the sweeper is at it."""
    role, tokens = side.lease_tokens(count)

    async def run(connection: Connection, number: int) -> None:
        headers = {"Authorization": f"Bearer {tokens[number]}"}
        request = post_json("/v1/leases", side.parties.host, {"role": role}, **headers)
        issued = json.loads(await connection.expect(request, 201, "password"))["lease"]
        revoke = post(f"/v1/leases/{issued['lease_id']}/revoke", side.parties.host, {}, **headers)
        await connection.expect(revoke, 200, "revoked by agent")

    return Flow(run, limit=count)


# --- the rest


def registration(side: Side, _count: int) -> Load:
    metadata = {
        "client_name": f"Bench {secrets.token_hex(4)}", "redirect_uris": [CALLBACK],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none",
    }  # fmt: skip
    return Load([post_json("/oidc/register", side.parties.host, metadata)], 201, "client_id")


def metadata(side: Side, _count: int) -> Load:
    return Load([side.parties.get("/.well-known/openid-configuration")], 200, '"issuer"')


def jwks(side: Side, _count: int) -> Load:
    return Load([side.parties.get("/.well-known/jwks.json")], 200, '"keys"')


SCENARIOS = (
    Scenario("client-secret", "client_credentials, client_secret", client_secret),
    Scenario("private-key-jwt", "client_credentials, private_key_jwt", private_key_jwt),
    Scenario("dpop", "client_credentials, client_secret and DPoP", dpop),
    Scenario("introspection", "introspection", introspection),
    Scenario("backchannel", "/bc-authorize, scopes", backchannel),
    Scenario("operation", "/bc-authorize, one operation", operation, is_ours_only=True),
    Scenario("pending-poll", "poll of a pending request", pending_poll),
    Scenario("ciba", "whole CIBA flow", ciba_flow),
    Scenario("code", "code exchange", code),
    Scenario("refresh", "refresh", refresh),
    Scenario("registration", "registration", registration),
    Scenario("metadata", "metadata", metadata),
    Scenario("jwks", "JWKS", jwks),
    Scenario("userinfo", "userinfo", userinfo),
    Scenario("use", "/v1/uses", use, is_ours_only=True),
    Scenario("approval", "approval by the page's API", approval, is_ours_only=True),
    Scenario("lease", "a lease, issued and revoked", lease, is_ours_only=True),
)

"""A small real agent: routine work without asking, a payment and a database account only after an approval.

Run it while `make run` serves the demo; with `payment` or `orders` it tells that part alone. Public libraries only:
httpx, joserfc, psycopg.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
from joserfc import jwt
from joserfc.jwk import ECKey

DATA_DIR = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parent.parent / ".data")
CIBA = "urn:openid:params:grant-type:ciba"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PAYMENT = {
    "amount": "120.00",
    "currency": "EUR",
    "creditor_name": "Acme Office Supplies",
    "creditor_iban": "DE89370400440532013000",
    "reference": "Invoice 2026-117",
}


class Stopped(Exception):
    """Why the agent cannot go on: one sentence."""


def say(text: str) -> None:
    print(text, flush=True)


class Agent:
    """Holds a private key and nothing else; finds everything through metadata."""

    def __init__(self, settings: dict[str, Any], http: httpx.Client) -> None:
        self.settings, self.http = settings, http
        self.key = ECKey.import_key(settings["key"])
        self.server = self.get_metadata()

    def get_metadata(self) -> dict[str, Any]:
        issuer = self.settings["issuer"]
        try:
            metadata: dict[str, Any] = self.http.get(f"{issuer}/.well-known/openid-configuration").json()
        except (httpx.HTTPError, ValueError) as error:
            raise Stopped(f"No server answers at {issuer}: start it with `make run` first.") from error
        if metadata.get("issuer") != issuer:
            raise Stopped(f"{issuer} is not the server that this agent is registered with.")
        return metadata

    def assertion(self) -> str:
        """Who we are, signed for this one call (RFC 7523)."""
        now = int(time.time())
        client_id = self.settings["client_id"]
        claims = {
            "iss": client_id, "sub": client_id, "aud": self.server["issuer"],
            "iat": now, "exp": now + 60, "jti": secrets.token_urlsafe(16),
        }  # fmt: skip
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, claims, self.key)

    def post(self, endpoint: str, prefer: str = "", **form: str) -> tuple[int, dict[str, Any]]:
        form |= {"client_assertion_type": JWT_BEARER, "client_assertion": self.assertion()}
        response = self.http.post(self.server[endpoint], data=form, headers={"Prefer": prefer} if prefer else {})
        return response.status_code, response.json()

    def ask(self, operation: dict[str, Any], message: str) -> dict[str, Any]:
        """Asks the user (CIBA Core 7); the response says how to poll."""
        status, answer = self.post(
            "backchannel_authentication_endpoint",
            scope="openid",
            login_hint=self.settings["user"],
            authorization_details=json.dumps([operation]),
            binding_message=message,
        )
        if status != 200:
            raise Stopped(f"The request was refused: {answer.get('error_description', answer['error'])}.")
        return answer

    def wait(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Polls at the interval until there is an answer (CIBA Core 10, 11). The server may hold a poll (RFC 7240)."""
        interval = sent.get("interval", 5)
        while True:
            status, answer = self.post(
                "token_endpoint", prefer="wait=30", grant_type=CIBA, auth_req_id=sent["auth_req_id"]
            )
            if status == 200:
                return answer
            match answer["error"]:
                case "authorization_pending":
                    time.sleep(interval)
                case "slow_down":
                    interval += 5
                    time.sleep(interval)
                case "access_denied":
                    raise Stopped("The user denied the request. The agent stops here, and nothing was done.")
                case "expired_token":
                    raise Stopped("The user did not answer in time. The agent stops here, and nothing was done.")
                case other:
                    raise Stopped(f"The server answered {other}: {answer.get('error_description', '')}")

    def pay(self, token: str, payment: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token}"}
        response = self.http.post(f"{self.settings['api']}/payments", json=payment, headers=headers)
        return response.status_code, response.json()

    def lease(self, path: str, token: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """POST /v1/leases: requests, renews or revokes a lease."""
        url, headers = f"{self.server['issuer']}/v1/leases{path}", {"Authorization": f"Bearer {token}"}
        response = self.http.post(url, json=body, headers=headers)
        return response.status_code, response.json()


def run_demo(agent: Agent, part: str) -> None:
    done = []
    if part in ("", "payment"):
        pay_an_invoice(agent)
        done.append("one payment")
    if part in ("", "orders") and lease_an_account(agent):
        done.append("one account")
    say(f"\nEverything worked: {' and '.join(done) or 'nothing'}, only after the user approved.")


def pay_an_invoice(agent: Agent) -> None:
    routine_token = do_routine_work(agent)
    say("\n2. A payment is not routine. Without an approval, the server refuses it:")
    operation = {"type": "payment", **PAYMENT}
    status, answer = agent.post(
        "token_endpoint", grant_type="client_credentials", authorization_details=json.dumps([operation])
    )
    expect(status == 400, f"refused: {answer.get('error_description')}")

    say(f"\n3. So the agent asks {agent.settings['user']} for an approval.")
    sent = agent.ask(operation, "Paying the invoice from this morning's mail")
    say(f"   → Open {agent.server['issuer']} in a browser, sign in and answer. ({sent['expires_in']} s)")
    token = agent.wait(sent)["access_token"]
    say("   ✓ The user approved. The agent continues.")

    say("\n4. The API refuses another amount than the approved one:")
    status, answer = agent.pay(token, PAYMENT | {"amount": "9120.00"})
    expect(status == 403, f"refused: {answer.get('error_description')}")
    say("\n5. The approved payment runs:")
    status, answer = agent.pay(token, PAYMENT)
    expect(status == 200, f"paid, receipt {answer.get('receipt')}")
    say("\n6. The API refuses the same payment a second time:")
    status, answer = agent.pay(token, PAYMENT)
    expect(status == 409, f"refused: {answer.get('error_description')}")
    say("\n7. The routine token cannot pay:")
    status, answer = agent.pay(routine_token, PAYMENT)
    expect(status == 401, f"refused: {answer.get('error_description')}")


def lease_an_account(agent: Agent) -> bool:
    """Leases an account of the orders database for minutes. False if the demo has no such database."""
    say("\n8. The agent has no database password. It requests a lease. The server answers which approval it needs:")
    status, answer = agent.post("token_endpoint", grant_type="client_credentials", scope="leases")
    if status != 200:
        say("   The demo issues no database accounts, because you set DATABASE_URL. (docs/guides/credentials.md)")
        return False
    routine_token = str(answer["access_token"])
    wanted = {"role": "orders-readonly", "purpose": "Find out what Acme ordered this week"}
    status, answer = agent.lease("", routine_token, **wanted)
    expect(status == 403, f"refused: {answer['error']}, with the authorization_details to request")

    say(f"\n9. So the agent asks {agent.settings['user']} for exactly this approval.")
    sent = agent.ask(answer["authorization_details"][0], "Your question about this week's orders")
    say(f"   → Answer in the browser at {agent.server['issuer']} ({sent['expires_in']} s)")
    token = agent.wait(sent)["access_token"]
    status, issued = agent.lease("", token, role="orders-readonly")
    lease = issued["lease"]
    expect(status == 201, f"an account until {lease['expires_at'][11:19]} UTC (bound_by: {lease['bound_by']})")
    use_the_account(agent, issued, routine_token)
    return True


def use_the_account(agent: Agent, issued: dict[str, Any], routine_token: str) -> None:
    at, who = issued["connection"], issued["credential"]
    address = {"host": at["host"], "port": at["port"], "sslmode": at["sslmode"], "user": who["username"]}
    orders = {**address, "dbname": at["database"]}
    say("\n10. The account can read the orders and nothing else:")
    with psycopg.connect(**orders, password=who["password"], autocommit=True) as connection:
        query = "SELECT count(*), sum(total) FROM orders WHERE customer = 'Acme Office Supplies'"
        count, total = connection.execute(query).fetchone() or (0, 0)
        expect(count > 0, f"{count} orders of Acme, together {total}")
        expect(fails(connection.execute, "DELETE FROM orders"), "writing is refused")
        expect(fails(psycopg.connect, **{**orders, "password": "guessed"}), "a wrong password is refused")
        own = {**address, "dbname": "countersign"}
        expect(
            fails(psycopg.connect, **own, password=who["password"]),
            "the account cannot open Countersign's own database",
        )

        say("\n11. The agent revokes the lease while its connection is open:")
        status, ended = agent.lease(f"/{issued['lease']['lease_id']}/revoke", routine_token)
        expect(status == 200 and ended["state"] == "revoked", "revoked, and a read confirmed it")
        expect(fails(connection.execute, "SELECT 1"), "the open connection is closed")
    expect(fails(psycopg.connect, **orders, password=who["password"]), "the account is gone")


def fails(act: Callable[..., Any], *arguments: Any, **more: Any) -> bool:
    try:
        act(*arguments, **more)
    except psycopg.Error:
        return True
    return False


def do_routine_work(agent: Agent) -> str:
    say("1. Routine work needs no approval: the agent reads the calendar.")
    status, answer = agent.post("token_endpoint", grant_type="client_credentials", scope="calendar.read")
    expect(status == 200, f"a token for {answer.get('expires_in')} s")
    token = str(answer["access_token"])
    calendar = agent.http.get(f"{agent.settings['api']}/calendar", headers={"Authorization": f"Bearer {token}"})
    titles = ", ".join(f"{event['at']} {event['title']}" for event in calendar.json().get("events", []))
    expect(calendar.status_code == 200, f"the calendar says: {titles}")
    return token


def expect(as_it_should: bool, text: str) -> None:
    if not as_it_should:
        raise Stopped(f"This should not have happened: {text}")
    say(f"   ✓ {text}")


def main() -> int:
    path = DATA_DIR / "demo" / "assistant.json"
    try:
        settings = json.loads(path.read_text())
    except OSError:
        print(f"There is no key at {path}: start the demo with `make run` first.", file=sys.stderr)
        return 1
    try:
        with httpx.Client(timeout=45) as http:
            run_demo(Agent(settings, http), sys.argv[1] if len(sys.argv) > 1 else "")
    except Stopped as reason:
        print(f"\n{reason}", file=sys.stderr)
        return 1
    except httpx.HTTPError as error:
        print(f"\nThe connection broke: {error}. Is `make run` still running?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A small resource server that trusts Countersign: the demo's API, and an example to copy.

GET  /calendar   routine: this API validates the token locally, by signature and claims (RFC 9068).
POST /payments   critical: this API spends a use at Countersign before it carries out the call.

A token that is bound to a key (`cnf.jkt`, RFC 9449) is accepted only with a proof of that key.

It uses public libraries only: httpx, joserfc, rfc8785. It reads DATA_DIR/demo/api.json and listens on loopback.
"""

import hashlib
import json
import os
import sys
import time
from base64 import urlsafe_b64encode
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import rfc8785
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

DATA_DIR = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parent.parent / ".data")
PORT = int(os.environ.get("DEMO_API_PORT") or 8001)
MAX_BODY = 16_384  # bytes
JWKS_LIFETIME_S = 300
MAX_PROOF_AGE_S = 60


class Refused(Exception):
    """An answer by RFC 6750, section 3.1."""

    def __init__(self, status: HTTPStatus, error: str, description: str) -> None:
        super().__init__(error)
        self.status, self.error, self.description = status, error, description

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header."""
        return f'Bearer realm="demo", error="{self.error}", DPoP algs="ES256", error="{self.error}"'


class NoToken(Refused):
    """The call has no token. The header then has no `error` (RFC 6750, section 3.1)."""

    challenge = 'Bearer realm="demo", DPoP algs="ES256"'

    def __init__(self) -> None:
        super().__init__(HTTPStatus.UNAUTHORIZED, "invalid_token", "An access token is needed.")


class Countersign:
    """The authorization server, as this API uses it."""

    def __init__(self, settings: dict[str, str], http: httpx.Client) -> None:
        self.issuer, self.resource = settings["issuer"], settings["resource"]
        self.credential = (settings["resource_id"], settings["secret"])
        self.http = http
        self.keys, self.fetched_at = KeySet([]), 0.0

    def key_set(self, kid: str) -> KeySet:
        """The published keys. Fetches them again if they are old or do not contain `kid`."""
        age = time.monotonic() - self.fetched_at
        if age > JWKS_LIFETIME_S or (age > 5 and kid not in {key.kid for key in self.keys.keys}):
            metadata = self.http.get(f"{self.issuer}/.well-known/openid-configuration").raise_for_status().json()
            found = self.http.get(metadata["jwks_uri"]).raise_for_status().json()
            self.keys, self.fetched_at = KeySet.import_key_set(found), time.monotonic()
        return self.keys

    def check_token(self, token: str) -> dict[str, Any]:
        """The claims of a token for this API (RFC 9068, section 4). Raises Refused."""
        try:
            header = json.loads(_from_b64url(token.split(".")[0]))
            if "crit" in header:  # RFC 7515, section 4.1.11: this API knows no extension
                raise _invalid_token()
            kid = str(header.get("kid"))
            decoded = jwt.decode(token, self.key_set(kid), algorithms=["ES256"])
            jwt.JWTClaimsRegistry(
                iss={"essential": True, "value": self.issuer},
                aud={"essential": True, "value": self.resource},
                exp={"essential": True},
                sub={"essential": True},
                client_id={"essential": True},
            ).validate(decoded.claims)
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise _invalid_token() from error
        if str(decoded.header.get("typ", "")).lower() not in ("at+jwt", "application/at+jwt"):
            raise _invalid_token()
        return decoded.claims

    def spend(self, token: str, claims: dict[str, Any], operation: dict[str, Any], idempotency_key: str | None) -> Any:
        """Spends one use for `operation`, which is built from the actual call. Raises Refused."""
        digest = operation_digest(operation, claims["client_id"], self.resource, claims["sub"])
        answer = self.http.post(
            f"{self.issuer}/v1/uses",
            json={"token": token, "operation_digest": digest},
            auth=self.credential,
            headers={"Idempotency-Key": idempotency_key} if idempotency_key else {},
        )
        if answer.status_code in (200, 201):
            return answer.json()
        error = answer.json().get("error", "server_error")
        refusals = {
            "invalid_token": _invalid_token(),
            "operation_mismatch": Refused(HTTPStatus.FORBIDDEN, error, "This is not the operation that was approved."),
            "used_up": Refused(HTTPStatus.CONFLICT, error, "The approval has no uses left."),
        }
        raise refusals.get(error) or RuntimeError(f"/v1/uses answered {answer.status_code} {error}")


def operation_digest(operation: dict[str, Any], client_id: str, resource: str, sub: str) -> str:
    """The digest of the operation: base64url SHA-256 of the canonical JSON (RFC 8785)."""
    whole = {"authorization_details": [operation], "client_id": client_id, "resource": resource, "sub": sub}
    return urlsafe_b64encode(hashlib.sha256(rfc8785.dumps(whole)).digest()).rstrip(b"=").decode()


def _from_b64url(text: str) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _invalid_token() -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, "invalid_token", "The token is not valid here.")


class Proofs:
    """Checks DPoP proofs (RFC 9449, section 7.1). Several processes would have to share `seen`."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def check(self, proof: str, *, jkt: str, token: str, method: str, url: str) -> None:
        """Raises Refused unless this is a fresh proof of the key `jkt` for this call and this token."""
        try:
            header = json.loads(_from_b64url(proof.split(".")[0]))
            key = ECKey.import_key(header["jwk"])
            claims = jwt.decode(proof, key, algorithms=["ES256"]).claims
            expected = {"htm": method, "htu": url, "ath": _hash(token)}
            good = (
                header.get("typ") == "dpop+jwt"
                and "crit" not in header
                and "d" not in header["jwk"]
                and key.thumbprint() == jkt
                and expected == {name: claims.get(name) for name in expected}
                and abs(time.time() - claims["iat"]) <= MAX_PROOF_AGE_S
            )
            jti = str(claims["jti"])
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _invalid_token() from error
        self.seen = {known: until for known, until in self.seen.items() if until > time.time()}
        if not good or jti in self.seen:
            raise _invalid_token()
        self.seen[jti] = time.time() + 2 * MAX_PROOF_AGE_S


def _hash(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Handler(BaseHTTPRequestHandler):
    """The API itself."""

    countersign: Countersign
    proofs = Proofs()
    server_version, sys_version = "demo-api", ""

    def do_GET(self) -> None:
        routes = {"/health": lambda: {"status": "ok"}, "/calendar": self.calendar}
        self.answer(routes.get(self.path))

    def do_POST(self) -> None:
        self.answer({"/payments": self.payments}.get(self.path))

    def calendar(self) -> dict[str, Any]:
        _, claims = self.caller()
        if "calendar.read" not in claims.get("scope", "").split():
            raise Refused(HTTPStatus.FORBIDDEN, "insufficient_scope", "calendar.read is needed.")
        return {"events": [{"at": "09:30", "title": "Stand-up"}, {"at": "14:00", "title": "Supplier call"}]}

    def payments(self) -> dict[str, Any]:
        token, claims = self.caller()
        body = self.json_body()
        # Built from the actual call, never from the token: only the approved operation may run.
        operation = {"type": "payment", **body}
        use = self.countersign.spend(token, claims, operation, self.headers.get("Idempotency-Key"))
        return {"receipt": use["use_id"], "paid": body, "on_behalf_of": claims["sub"]}

    def caller(self) -> tuple[str, dict[str, Any]]:
        """The token and its claims. Raises Refused if the caller may not present the token."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "dpop") or not token:
            raise NoToken()
        claims = self.countersign.check_token(token)
        cnf = claims.get("cnf", {})
        # A bound token without its proof may be stolen. This API cannot check other bindings (a
        # certificate), so it refuses them.
        if cnf.keys() - {"jkt"} or (scheme.lower() == "dpop") != ("jkt" in cnf):
            raise _invalid_token()
        if "jkt" in cnf:
            proof, url = self.headers.get("DPoP", ""), f"{self.countersign.resource.rstrip('/')}{self.path}"
            self.proofs.check(proof, jkt=cnf["jkt"], token=token, method=self.command, url=url)
        return token, claims

    def json_body(self) -> dict[str, Any]:
        try:
            length = int(self.headers.get("Content-Length", 0))
            if length > MAX_BODY:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "invalid_request", "The body is too large.")
            body = json.loads(self.rfile.read(length))
            rfc8785.dumps(body)
        except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
            raise Refused(HTTPStatus.BAD_REQUEST, "invalid_request", "The body is not JSON.") from error
        if not isinstance(body, dict) or "type" in body:
            raise Refused(HTTPStatus.BAD_REQUEST, "invalid_request", "The body must be an object without `type`.")
        return body

    def answer(self, route: Any) -> None:
        try:
            if route is None:
                raise Refused(HTTPStatus.NOT_FOUND, "not_found", "Unknown path.")
            self.send(HTTPStatus.OK, route())
        except Refused as refused:
            body = {"error": refused.error, "error_description": refused.description}
            challenged = refused.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
            self.send(refused.status, body, refused.challenge if challenged else None)
        except (httpx.HTTPError, RuntimeError) as error:
            print(f"demo API: {error}", file=sys.stderr)
            self.send(HTTPStatus.BAD_GATEWAY, {"error": "server_error"})

    def send(self, status: HTTPStatus, body: dict[str, Any], challenge: str | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        if challenge is not None:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing, so that the supervisor's terminal shows only messages that matter."""


def main() -> None:
    path = DATA_DIR / "demo" / "api.json"
    while not path.exists():  # the seed writes it
        time.sleep(0.2)
    with httpx.Client(timeout=10) as http:
        Handler.countersign = Countersign(json.loads(path.read_text()), http)
        ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()

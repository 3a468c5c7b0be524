"""Keys of agents, and what they sign, right or wrong. Knows no Django, so that tests of the pure rules can use it."""

import hashlib
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from foundation.handles import b64url


def new_key(algorithm: str) -> Any:
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", auto_kid=True)
    if algorithm in ("PS256", "RS256"):
        return RSAKey.generate_key(2048, auto_kid=True)
    return OKPKey.generate_key("Ed25519", auto_kid=True)


def sign_anything(header: dict[str, Any], claims: Any, key: Any, algorithm: str) -> str:
    """A JWT that joserfc would refuse to write: nothing is checked. Members of None are left out."""
    parts = [{n: v for n, v in part.items() if v is not None} if isinstance(part, dict) else part
             for part in (header, claims)]  # fmt: skip
    text = [part if isinstance(part, str) else json.dumps(part) for part in parts]
    signed = ".".join(b64url(part.encode()) for part in text)
    signature = jws.JWSRegistry(algorithms=[algorithm]).get_alg(algorithm).sign(signed.encode(), key)
    return f"{signed}.{b64url(signature)}"


@dataclass
class Prover:
    """A DPoP key and the proofs made with it (RFC 9449 4.2); remembers the server's last nonce."""

    key: Any
    algorithm: str = "ES256"
    nonce: str | None = None
    issuer: str = "http://localhost:8000"

    @property
    def jkt(self) -> str:
        return str(self.key.thumbprint())

    def proof(
        self, path: str = "/oauth/token", *, method: str = "POST", token: str | None = None,
        header: dict[str, Any] | None = None, **claims: Any,
    ) -> str:  # fmt: skip
        """A header member or claim given as None is left out."""
        body = {
            "jti": secrets.token_hex(16),
            "htm": method,
            "htu": self.issuer + path,
            "iat": int(time.time()),
            "nonce": self.nonce,
            "ath": b64url(hashlib.sha256(token.encode()).digest()) if token else None,
            **claims,
        }
        head = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.key.as_dict(private=False), **(header or {})}
        return sign_anything(head, body, self.key, self.algorithm)

    def learn(self, response: Any) -> bool:
        """Takes the nonce of an answer; says whether the answer asks for another try with it."""
        self.nonce = response.headers.get("DPoP-Nonce", self.nonce)
        return "use_dpop_nonce" in response.content.decode()

"""A push service on loopback that speaks the real protocol: it decrypts what it gets and checks who signed it.

And the browser's side of a subscription: a P-256 key pair and the shared secret (RFC 8291).
"""

import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt
from joserfc.jwk import ECKey
from py_vapid import Vapid02

from foundation.handles import b64url, from_b64url, new_handle
from tests.patience import PATIENCE


@dataclass
class Browser:
    """One subscription, as a browser makes it."""

    endpoint: str
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = field(default_factory=lambda: os.urandom(16))

    def subscription(self) -> dict[str, Any]:
        point = self.private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": b64url(point), "auth": b64url(self.secret)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> Any:
        plain = http_ece.decrypt(body, private_key=self.private, auth_secret=self.secret, version="aes128gcm")
        return json.loads(plain)


@dataclass
class Pushed:
    """What the service received: who sent it, under which headers, and what it says."""

    message: Any
    headers: dict[str, str]
    vapid_key: str
    claims: dict[str, Any]
    browser: Browser


class PushService:
    """Answers 201, or what `answers` holds next: (status, headers)."""

    def __init__(self) -> None:
        self.browsers: dict[str, Browser] = {}
        self.received: list[Pushed] = []
        self.refused: list[int] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.arrived = threading.Condition()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = service.take(self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def new_browser(self) -> Browser:
        path = f"/push/{new_handle()}"
        browser = self.browsers[path] = Browser(f"http://{self.authority}{path}")
        return browser

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        with self.arrived:
            if self.answers:
                answer = self.answers.pop(0)
                self.refused.append(answer[0])
                self.arrived.notify_all()
                return answer
            browser = self.browsers.get(path)
            if browser is None:
                return 404, {}
            key, claims = verify_vapid(headers["Authorization"])
            if claims["aud"] != f"http://{self.authority}":
                return 403, {}
            self.received.append(Pushed(browser.decrypt(body), headers, key, claims, browser))
            self.arrived.notify_all()
            return 201, {}

    def wait_for(self, count: int, seconds: float = PATIENCE) -> list[Pushed]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, seconds), self.received
            return list(self.received)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def verify_vapid(authorization: str) -> tuple[str, dict[str, Any]]:
    """The key and the claims of a VAPID header (RFC 8292 3). Raises where the signature is wrong."""
    assert Vapid02.verify(authorization)
    parts = dict(part.strip().split("=", 1) for part in authorization.removeprefix("vapid ").split(","))
    point = from_b64url(parts["k"])
    jwk = {"kty": "EC", "crv": "P-256", "x": b64url(point[1:33]), "y": b64url(point[33:])}
    return parts["k"], jwt.decode(parts["t"], ECKey.import_key(jwk), algorithms=["ES256"]).claims

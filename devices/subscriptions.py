"""A browser's push subscription (Push API 10; RFC 8291 for the keys). Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from foundation.handles import from_b64url

MAX_ENDPOINT = 2048  # characters


@dataclass(frozen=True)
class Subscription:
    """`endpoint` is a capability: any party that knows it can send. The keys are base64url."""

    endpoint: str
    p256dh: str  # the browser's public key: 65 bytes
    auth: str  # the shared secret: 16 bytes

    @property
    def origin(self) -> str:
        """The audience of the VAPID token (RFC 8292 2): scheme, host, and the port unless it is 443."""
        parts = urlsplit(self.endpoint.lower())
        return f"{parts.scheme}://{parts.netloc.removesuffix(':443') if parts.scheme == 'https' else parts.netloc}"

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).hostname or ""

    @property
    def path(self) -> str:
        return urlsplit(self.endpoint).path

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def is_known_service(host: str, path: str, known: Sequence[str]) -> bool:
    """Whether the endpoint belongs to a listed push service.

    Otherwise any user could make this server call hosts of their choice, including slow ones. A
    known service is `*`, a host or `.suffix`, optionally followed by the beginning of a path. A
    path is compared only if it cannot be read as another path (no %, backslash, semicolon or dot
    segment).
    """
    is_plain = not set(path) & set("%\\;") and not {"", ".", ".."} & set(path.split("/")[1:])
    for one in known:
        name, slash, beginning = one.partition("/")
        is_host = name in ("*", host) or (name.startswith(".") and host.endswith(name))
        if is_host and (not slash or (is_plain and path.startswith(slash + beginning))):
            return True
    return False


def parse_subscription(unverified: Any) -> Subscription:
    """Parses PushSubscription.toJSON(). Raises ValueError with a sentence for the user's page."""
    keys = unverified.get("keys") if isinstance(unverified, dict) else None
    if not isinstance(keys, dict):
        raise ValueError("the browser sent no subscription")
    endpoint, p256dh, auth = unverified.get("endpoint"), keys.get("p256dh"), keys.get("auth")
    if not isinstance(endpoint, str) or not 0 < len(endpoint) <= MAX_ENDPOINT or not endpoint.isascii():
        raise ValueError("the subscription's endpoint is not valid")
    if not isinstance(p256dh, str) or not isinstance(auth, str) or len(_bytes(auth)) != 16:
        raise ValueError("the subscription's keys are not valid")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _bytes(p256dh))
    except ValueError as error:
        raise ValueError("the subscription's keys are not valid") from error
    return Subscription(endpoint, p256dh.rstrip("="), auth.rstrip("="))


def _bytes(text: str) -> bytes:
    try:
        return from_b64url(text.rstrip("=")) if len(text) <= 200 else b""
    except ValueError:
        return b""

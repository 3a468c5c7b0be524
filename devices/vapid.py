"""The keys that identify this server to push services (RFC 8292): created once, stored sealed, rotatable.

A rotation needs no action by users. A browser's subscription is bound to the key under which it was
made, so the old key keeps signing for it until the browser has subscribed again under the new key.
app.js does that when the user next opens a page.
"""

from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import transaction

from audit import events
from audit.record import SYSTEM, About, record
from devices.models import VapidKey
from foundation.handles import b64url
from foundation.keyring import open_sealed, seal
from foundation.sealed_columns import place_of


def _place(public_key: str) -> str:
    return place_of(VapidKey, "sealed_private_key", public_key)


@transaction.atomic(durable=True)
def make_key(now: datetime) -> VapidKey:
    """Creates a new key, under which browsers subscribe from now on."""
    private = ec.generate_private_key(ec.SECP256R1())
    scalar = private.private_numbers().private_value.to_bytes(32, "big")
    public_key = b64url(private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    key = VapidKey.objects.create(
        public_key=public_key,
        sealed_private_key=seal(b64url(scalar).encode(), place=_place(public_key)),
        created_at=now,
    )
    record(events.VAPID_KEY_CREATED, About(SYSTEM), now, public_key=public_key)
    return key


def current_key() -> VapidKey | None:
    """The newest key; None before the first start has created one."""
    return VapidKey.objects.first()


def private_scalar(key: VapidKey) -> bytes:
    """The 32 bytes of the private key in base64url."""
    return open_sealed(bytes(key.sealed_private_key), place=_place(key.public_key))

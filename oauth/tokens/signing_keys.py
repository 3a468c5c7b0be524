"""Our signing keys: create, choose, list, withdraw.

Private parts are sealed in PostgreSQL.

Rotation invalidates nothing. A new key is listed SIGNING_KEY_LEAD seconds before it signs, so that
resource servers have fetched it. An old key stays listed until everything that it signed has
expired.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from joserfc.jwk import ECKey, Key, RSAKey

from audit import events
from audit.record import SYSTEM, About, record, record_revocation
from clients.models import ID_TOKEN_ALGORITHMS
from foundation.keyring import open_sealed, seal
from foundation.process_cache import MAX_AGE_S, ProcessCache
from foundation.sealed_columns import place_of
from oauth.models import SigningKey
from operations.lifetimes import MAX_TOKEN_LIFETIME

ALGORITHMS = ID_TOKEN_ALGORITHMS


@dataclass(frozen=True)
class LoadedKey:
    """A signing key in memory."""

    kid: str
    algorithm: str
    active_at: datetime
    public_jwk: dict[str, Any]
    key: Key


@dataclass(frozen=True)
class KeyList:
    """The keys of the JWKS, newest first."""

    keys: tuple[LoadedKey, ...]
    by_kid: dict[str, LoadedKey]
    jwks: bytes  # the JWK Set as it is published (RFC 7517 5)


def _place(kid: str) -> str:
    return place_of(SigningKey, "sealed_private_jwk", kid)


def key_list(now: datetime) -> KeyList:
    """Every key that signs, will sign, or signed something that may still be valid: from this process's cache.

    What another process changes is seen within MAX_AGE_S.
    """
    listed = _cache.get(now)
    if not listed.keys:
        _cache.clear()  # so that the first keys are seen at once
    return listed


def find_key(unverified_kid: str | None, now: datetime) -> LoadedKey | None:
    """The listed key with this id, or None."""
    return key_list(now).by_kid.get(unverified_kid) if unverified_kid is not None else None


def clear_cache() -> None:
    """Call it in this process after a change of the keys."""
    _cache.clear()


def _read(now: datetime, previous: KeyList | None) -> KeyList:
    rows = SigningKey.objects.filter(Q(withdrawn_at=None) | Q(withdrawn_at__gt=now)).order_by("-active_at")
    opened = previous.by_kid if previous else {}
    keys = tuple(_load(row, opened.get(row.kid)) for row in rows)
    published = {"keys": [loaded.public_jwk for loaded in keys]}
    return KeyList(keys, {loaded.kid: loaded for loaded in keys}, json.dumps(published).encode())


_cache = ProcessCache(_read)


def _load(row: SigningKey, opened: LoadedKey | None) -> LoadedKey:
    """`opened` has the private key if this process opened it before: an RSA key is checked when it is
    read, which takes time.
    """
    return LoadedKey(row.kid, row.algorithm, row.active_at, row.public_jwk, opened.key if opened else _open(row))


def _open(row: SigningKey) -> Key:
    private = json.loads(open_sealed(bytes(row.sealed_private_jwk), place=_place(row.kid)))
    return (ECKey if row.algorithm == "ES256" else RSAKey).import_key(private)


def signing_key(algorithm: str, now: datetime) -> LoadedKey:
    """The newest active key of this algorithm. Raises LookupError if there is none."""
    for loaded in key_list(now).keys:
        if loaded.algorithm == algorithm and loaded.active_at <= now:
            return loaded
    raise LookupError(f"there is no active {algorithm} key: run manage.py rotate_keys")


def state_in_words(row: SigningKey, now: datetime) -> str:
    """The state of a key at this time, in words for the administration."""
    if row.withdrawn_at is not None and row.withdrawn_at <= now:
        return "withdrawn: its signatures are refused"
    if row.active_at > now:
        return "in the JWKS; will sign"
    later = SigningKey.objects.filter(algorithm=row.algorithm, active_at__gt=row.active_at, active_at__lte=now)
    if later.filter(Q(withdrawn_at=None) | Q(withdrawn_at__gt=now)).exists():
        return "no longer signs; in the JWKS until its tokens expire"
    return "signs"


def find_missing_algorithms(now: datetime) -> list[str]:
    """The algorithms without a key that can sign now."""
    active = {key.algorithm for key in key_list(now).keys if key.active_at <= now}
    return [algorithm for algorithm in ALGORITHMS if algorithm not in active]


@transaction.atomic(durable=True)
def make_key(algorithm: str, now: datetime, *, active_at: datetime) -> str:
    """Creates a key that is listed at once and signs from `active_at`.

    Older keys are unlisted when all that they signed has expired.
    """
    key = ECKey.generate_key("P-256") if algorithm == "ES256" else RSAKey.generate_key(2048)
    kid = key.thumbprint()  # RFC 7638
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": algorithm}
    SigningKey.objects.filter(algorithm=algorithm, withdrawn_at=None).update(
        withdrawn_at=active_at + MAX_TOKEN_LIFETIME + timedelta(seconds=MAX_AGE_S * 2)
    )
    SigningKey.objects.create(
        kid=kid,
        algorithm=algorithm,
        public_jwk=public,
        sealed_private_jwk=seal(json.dumps(key.as_dict(private=True)).encode(), place=_place(kid)),
        created_at=now,
        active_at=active_at,
    )
    record(events.SIGNING_KEY_CREATED, About(SYSTEM), now, kid=kid, algorithm=algorithm)
    transaction.on_commit(clear_cache)
    return kid


@transaction.atomic(durable=True)
def withdraw(kid: str, now: datetime) -> bool:
    """Removes a leaked key from the JWKS at once. Signatures of this key stop verifying."""
    row = SigningKey.objects.filter(kid=kid).filter(Q(withdrawn_at=None) | Q(withdrawn_at__gt=now))
    if not row.update(withdrawn_at=now):
        return False
    record_revocation(events.SIGNING_KEY_WITHDRAWN, About(SYSTEM), now, kid=kid)
    transaction.on_commit(clear_cache)
    return True


def sweep(now: datetime, batch: int) -> int:
    """Deletes keys that were unlisted some time ago."""
    due = SigningKey.objects.filter(withdrawn_at__lt=now - timedelta(seconds=settings.SIGNING_KEY_LEAD))
    gone, _ = SigningKey.objects.filter(pk__in=list(due.values_list("pk", flat=True)[:batch])).delete()
    return gone

"""Codes, refresh tokens and revoked access tokens: used once, rotated, denied, swept."""

import json
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models.functions import Greatest

from foundation.compiled_queries import CompiledUpdate, Parameter
from foundation.handles import digest, new_handle, random_bytes
from foundation.inserts import insert
from foundation.prepared_statements import Statement, execute
from foundation.transactions import inside_transaction
from oauth.models import (
    AuthorizationCode,
    AuthorizationRequest,
    Grant,
    RefreshToken,
    RevokedToken,
)
from oauth.successors import SALT_BYTES, derive_successors


def use_code(code: AuthorizationCode, now: datetime) -> bool:
    """Marks the code as used.

    Of two concurrent exchanges one wins. Runs in the transaction that issues the tokens.
    """
    inside_transaction("this use case")
    return bool(_USE_CODE(code=code.pk, now=now))


_USE_CODE = CompiledUpdate(
    lambda: AuthorizationCode.objects.filter(pk=Parameter("code"), used_at=None), used_at=Parameter("now")
)


def issue_refresh_token(grant: Grant, cnf: dict[str, str], now: datetime) -> str:
    """Issues the first refresh token of a grant, bound to `cnf`.

    Runs in the transaction that issues the tokens.
    """
    inside_transaction("this use case")
    handle = new_handle()
    end = _refresh_end(grant, now)
    insert([RefreshToken(token_digest=digest(handle), grant=grant, cnf=cnf, created_at=now, expires_at=end)])
    return handle


def rotate(token: RefreshToken, value: str, cnf: dict[str, str], now: datetime) -> str | None:
    """Marks a refresh token as used and returns its successor, bound to `cnf`, in one statement.

    `value` is the token itself. None if another process used or returned the token since it was
    read.
    """
    inside_transaction("this use case")
    salt = random_bytes(SALT_BYTES)
    successor = next(derive_successors(value, salt))
    sent = execute(
        _ROTATE,
        [now, token.pk, token.given_at, digest(successor), json.dumps(cnf), now, now,
         _refresh_end(token.grant, now), salt],
    )  # fmt: skip
    return successor if sent.rowcount else None


_TABLE = RefreshToken._meta.db_table
_ROTATE = Statement(
    f"WITH used AS (UPDATE {_TABLE} SET used_at = %s WHERE id = %s AND used_at IS NULL"  # noqa: S608
    " AND given_at IS NOT DISTINCT FROM %s RETURNING id, grant_id)"
    f" INSERT INTO {_TABLE}"
    " (token_digest, grant_id, cnf, created_at, given_at, expires_at, predecessor_id, salt)"
    " SELECT %s::bytea, grant_id, %s::jsonb, %s::timestamptz, %s::timestamptz, %s::timestamptz, id, %s::bytea FROM used"
)


def keep(token: RefreshToken, now: datetime) -> bool:
    """Returns the same refresh token again and restarts its idle time.

    False if it was used or revoked meanwhile.
    """
    inside_transaction("this use case")
    end = _refresh_end(token.grant, now)
    return bool(_KEEP(token=token.pk, known_end=token.expires_at, now=now, end=end))


_KEEP = CompiledUpdate(
    # Revoking moves `expires_at` closer; a concurrent refresh never does.
    lambda: RefreshToken.objects.filter(pk=Parameter("token"), used_at=None, expires_at__gte=Parameter("known_end")),
    given_at=Greatest("given_at", Parameter("now")),
    expires_at=Greatest("expires_at", Parameter("end")),
)


def _refresh_end(grant: Grant, now: datetime) -> datetime:
    return min(grant.expires_at, now + timedelta(seconds=settings.REFRESH_TOKEN_IDLE))


def deny_token(jti: str, expires_at: datetime) -> bool:
    """Revokes one access token, once: introspection and our own endpoints refuse it from now on.

    Runs in the caller's transaction.
    """
    inside_transaction("this use case")
    _, made = RevokedToken.objects.get_or_create(jti_digest=digest(jti), defaults={"expires_at": expires_at})
    return made


def sweep(now: datetime, batch: int) -> int:
    """Deletes codes, tokens and requests that can no longer be presented, at most `batch` of each.

    A used code or refresh token is kept until one day after its expiry, so that a late second use
    still ends the grant.
    """
    gone = 0
    for model in (AuthorizationRequest, AuthorizationCode, RefreshToken, RevokedToken):
        due = model._default_manager.filter(expires_at__lt=now - timedelta(days=1)).order_by("expires_at")[:batch]
        deleted, _ = model._default_manager.filter(pk__in=list(due.values_list("pk", flat=True))).delete()
        gone = max(gone, deleted)
    return gone

"""Everything that belongs to a grant: user → grant → refresh tokens, access tokens, uses, and
leases.

A table maps each kind of branch to the functions that list and end it. Ending a branch is one
statement and one event. A branch that has already ended is left unchanged.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import DateTimeField, DurationField, F, IntegerField, JSONField, Max, Value
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Cast

from accounts.models import User
from audit import events
from audit.models import Event
from audit.record import About, record_revocation
from foundation.handles import digest
from oauth.grants import lifecycle
from oauth.models import Grant, RefreshToken, RevokedToken, Use
from operations.lifetimes import MAX_TOKEN_LIFETIME
from operations.models import OFFLINE_ACCESS, OperationType, Scope
from operations.wording import IDENTITY_WORDS

MAX_LISTED = 50  # newest branches of each kind


@dataclass(frozen=True)
class Branch:
    """One item that belongs to a grant."""

    id: str
    text: str
    made_at: datetime
    ends_at: datetime | None  # None: it has no end
    is_over: bool
    can_end: bool


@dataclass(frozen=True)
class BranchKind:
    title: str
    find: Callable[[Grant, datetime], list[Branch]]
    # (grant, branch id, actor, now) → whether this call ended it. Runs its own transaction. None:
    # this kind cannot be ended.
    end: Callable[[Grant, str, str, datetime], bool] | None = None


def _refresh_tokens(grant: Grant, now: datetime) -> list[Branch]:
    """The refresh tokens that can still be presented.

    Each rotation replaces one by its successor.
    """
    tokens = RefreshToken.objects.filter(grant=grant, used_at=None).order_by("-created_at")[:MAX_LISTED]
    return [
        Branch(str(one.pk), "Keeps the agent's access while you are away", one.created_at, one.expires_at,
               one.expires_at <= now, one.expires_at > now)
        for one in tokens
    ]  # fmt: skip


@transaction.atomic(durable=True)
def _end_refresh_token(grant: Grant, branch_id: str, actor: str, now: datetime) -> bool:
    token = RefreshToken.objects.filter(grant=grant, pk=_number(branch_id), used_at=None, expires_at__gt=now)
    if not token.update(expires_at=now):
        return False
    record_revocation(events.REFRESH_TOKEN_REVOKED, _about(grant, actor), now, agent=str(grant.agent))
    return True


def _access_tokens(grant: Grant, now: datetime) -> list[Branch]:
    """The access tokens that would still be accepted, by `jti`.

    They are read from the audit log, because access tokens are not stored.
    """
    issued = Event.objects.filter(kind=events.TOKEN_ISSUED.name, grant_id=grant.id, at__gt=now - MAX_TOKEN_LIFETIME)
    tokens = []
    for event in issued.order_by("-id")[:MAX_LISTED]:
        facts = json.loads(event.body)["facts"]
        ends_at = event.at + timedelta(seconds=facts["expires_in"])
        if ends_at > now:
            tokens.append((facts["jti"], event.at, ends_at))
    digests = [digest(jti) for jti, *_ in tokens]
    denied = {
        bytes(one) for one in RevokedToken.objects.filter(jti_digest__in=digests).values_list("jti_digest", flat=True)
    }
    return [
        Branch(jti, jti, made_at, ends_at, digest(jti) in denied, digest(jti) not in denied)
        for jti, made_at, ends_at in tokens
    ]  # fmt: skip


def last_token_ends_at(client_id: str, now: datetime) -> datetime | None:
    """When this agent's last access token expires, revoked or not; None if all have expired.

    An API that validates tokens locally, without introspection, accepts the token until then.
    """
    issued = Event.objects.filter(kind=events.TOKEN_ISSUED.name, client_id=client_id, at__gt=now - MAX_TOKEN_LIFETIME)
    lifetime = KeyTextTransform("expires_in", KeyTransform("facts", Cast("body", JSONField())))
    ends_at = F("at") + Cast(lifetime, IntegerField()) * Value(timedelta(seconds=1), DurationField())
    last: datetime | None = issued.aggregate(last=Max(ends_at, output_field=DateTimeField()))["last"]
    return last if last and last > now else None


@transaction.atomic(durable=True)
def _end_access_token(grant: Grant, branch_id: str, actor: str, now: datetime) -> bool:
    found = next((one for one in _access_tokens(grant, now) if one.id == branch_id), None)
    if found is None or found.ends_at is None or not lifecycle.deny_token(branch_id, found.ends_at):
        return False
    record_revocation(events.TOKEN_REVOKED, _about(grant, actor), now, agent=str(grant.agent), jti=branch_id)
    return True


def _uses(grant: Grant, _now: datetime) -> list[Branch]:
    """The uses of the grant. They cannot be undone."""
    uses = Use.objects.filter(grant=grant).order_by("-at")[:MAX_LISTED]
    return [Branch(str(use.id), f"Operation {use.operation_digest[:12]}…", use.at, None, True, False) for use in uses]


# Name → kind, in the order of display. Upper packages add theirs in authserver/wiring.py.
BRANCH_KINDS: dict[str, BranchKind] = {
    "refresh-token": BranchKind("Refresh tokens", _refresh_tokens, _end_refresh_token),
    "access-token": BranchKind("Access tokens", _access_tokens, _end_access_token),
    "use": BranchKind("Uses", _uses),
}


@dataclass(frozen=True)
class BranchList:
    """All branches of one kind."""

    name: str
    title: str
    branches: list[Branch]


def tree_of(grant: Grant, now: datetime) -> list[BranchList]:
    branch_lists = [BranchList(name, kind.title, kind.find(grant, now)) for name, kind in BRANCH_KINDS.items()]
    return [branch_list for branch_list in branch_lists if branch_list.branches]


@transaction.atomic(durable=True)
def end_grant(grant: Grant, actor: str, now: datetime) -> bool:
    """Revokes the grant and so everything that belongs to it."""
    return bool(lifecycle.revoke_grant(grant.id, grant.agent, grant.user, now, actor=actor))


def end_branch(grant: Grant, unverified_kind: str, unverified_id: str, actor: str, now: datetime) -> bool:
    """Ends one branch of this grant. False if there is no such branch or it has ended."""
    kind = BRANCH_KINDS.get(unverified_kind)
    return kind is not None and kind.end is not None and kind.end(grant, unverified_id, actor, now)


@dataclass(frozen=True)
class GrantLine:
    """One grant in a list."""

    grant: Grant
    words: str

    @property
    def is_used_up(self) -> bool:
        """No use is left. Tokens and leases that were issued under the grant may still exist."""
        return self.grant.uses_left == 0


def list_grants(user: User, now: datetime) -> list[GrantLine]:
    """This user's grants that have not ended, newest first."""
    alive = Grant.objects.alive(now).filter(user=user)
    grants = alive.select_related("agent", "resource").order_by("-created_at")[:MAX_LISTED]
    return [GrantLine(grant, words_of(grant)) for grant in grants]


def words_of(grant: Grant) -> str:
    """One line that says what was granted, in the words that the user approved."""
    names = [one["type"] for one in grant.authorization_details]
    titles = dict(OperationType.objects.filter(name__in=names).values_list("name", "current__title")) if names else {}
    scopes = dict(Scope.objects.filter(name__in=grant.scopes).values_list("name", "description")) | IDENTITY_WORDS
    words = [titles.get(name) or name for name in names]
    words += [scopes.get(name, name) for name in grant.scopes if name not in ("openid", OFFLINE_ACCESS)]
    where = f" at {grant.resource.name}" if grant.resource else ""
    return f"{', '.join(words) or 'Know which account is yours'}{where}"


def _about(grant: Grant, actor: str) -> About:
    return About(actor, grant.agent.client_id, grant.user_id, grant.request_id, grant.id)


def _number(text: str) -> int:
    """The row number in `text`, or a number that no row has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0

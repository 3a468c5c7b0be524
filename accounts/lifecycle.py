"""Use cases of users: sign in and out, invite, disable and enable, end sessions, assign roles; a group is saved.

Only this module writes `is_active`, `session_epoch`, passwords and invitations.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import HttpRequest

from accounts import browsers, lockout
from accounts.models import ROLE_PERMISSION, Invitation, User
from accounts.sessions import user_topic
from accounts.staff_roles import ROLES, StaffRole
from audit import events
from audit.record import About, record, record_revocation
from foundation.attempts import AttemptCounter
from foundation.changed_columns import save_changed
from foundation.handles import digest, new_handle
from foundation.networks import counted_address
from foundation.wakeups import wake

# Notifies a user of a change to their sign-in: (user, news, e-mail addresses, now), in the caller's
# transaction. authserver/wiring.py fills it.
NOTIFIERS: list[Callable[[User, str, Sequence[str], datetime], None]] = []
SIGN_INS = AttemptCounter("sign-in", lockout.ATTEMPT_WINDOW)
LINK_MADE, PASSWORD_SET, ADDRESS_CHANGED = "sign_in_link", "password_set", "address_changed"


def _notify(user: User, news: str, addresses: Sequence[str], now: datetime) -> None:
    for notifier in NOTIFIERS:
        notifier(user, news, addresses, now)


@dataclass(frozen=True)
class Locked:
    """Too many wrong passwords within the window."""


@dataclass(frozen=True)
class WrongPassword:
    """The user is unknown or inactive, or the password is wrong. The answer does not say which."""


@dataclass(frozen=True)
class HasSignedUp:
    """The user has a password, so a link would let its holder act as them."""


def about_user(user: User, by: User | None = None) -> About:
    """The subject of an event about a user, caused by the user or by the administrator `by`."""
    return About(actor=f"user:{(by or user).id}", user_id=user.id)


def check_password(
    request: HttpRequest, email: str, password: str, address: str, now: datetime
) -> User | WrongPassword | Locked:
    """Checks the password of an active user. Counts a wrong one (foundation/attempts.py)."""
    email, counted = email.strip().lower(), counted_address(address)
    limits = lockout.limits_of(email, counted, in_known_browser=browsers.is_known(request, email))
    if SIGN_INS.is_exhausted(limits, now):
        _record_lock(email, address, now)
        return Locked()
    user = authenticate(request, username=email, password=password)
    if isinstance(user, User):
        SIGN_INS.clear(lockout.from_address_for_user(email, counted))
        return user
    if SIGN_INS.record_wrong(limits, now):
        _record_lock(email, address, now)
        return Locked()
    return WrongPassword()


def _record_lock(email: str, address: str, now: datetime) -> None:
    user = User.objects.filter(email=email).first()
    if user is None:
        return
    with transaction.atomic(durable=True):
        record(events.USER_LOCKED_OUT, About(actor="system", user_id=user.id), now, address=address)


@transaction.atomic(durable=True)
def record_sign_in(user: User, address: str, now: datetime) -> None:
    record(events.USER_SIGNED_IN, about_user(user), now, address=address)


@transaction.atomic(durable=True)
def record_sign_out(user: User, now: datetime) -> None:
    record(events.USER_SIGNED_OUT, about_user(user), now)


@transaction.atomic(durable=True)
def invite(
    email: str, name: str, invited_by: User, now: datetime, *, only_new: bool = False
) -> tuple[User, str] | HasSignedUp:
    """Invites a new user, or lets an existing user set a new password. Returns the handle of the link, once.

    Earlier unused invitations of the same user end. With `only_new`, returns HasSignedUp for a user
    with a password.
    """
    email = email.strip().lower()
    user = User.objects.select_for_update().filter(email=email).first()
    if user is None:
        user = User.objects.create_user(email, name=name)
    if only_new and user.has_signed_up:
        return HasSignedUp()
    Invitation.objects.filter(user=user, used_at=None, expires_at__gt=now).update(expires_at=now)
    handle = new_handle()
    Invitation.objects.create(
        user=user,
        invited_by=invited_by,
        token_digest=digest(handle),
        created_at=now,
        expires_at=now + timedelta(seconds=settings.INVITATION_LIFETIME),
    )
    kind = events.SIGN_IN_LINK_MADE if user.has_signed_up else events.USER_INVITED
    record(kind, about_user(user, invited_by), now, email=email)
    if user.has_signed_up:
        _notify(user, LINK_MADE, [user.email], now)  # because the holder of the link can become this user
    return user, handle


@transaction.atomic
def record_change(user: User, before_email: str, changed: list[str], by: User, now: datetime) -> None:
    """Records that an administrator changed a user's record. Runs in the administration's transaction."""
    record(events.USER_CHANGED, about_user(user, by), now, changed=changed)
    if {"email", "phone"}.intersection(changed):
        _notify(user, ADDRESS_CHANGED, sorted({before_email, user.email}), now)


@transaction.atomic
def save_group(group: Group, changed: Collection[str], about: About, now: datetime) -> None:
    """Saves a group. The caller sets its permissions. `changed` names the fields that a form or file changed."""
    save_changed(group, changed)
    record(events.GROUP_CHANGED, about, now, name=group.name, changed=sorted(changed))


def find_invitation(unverified_handle: str, now: datetime) -> Invitation | None:
    """The invitation, or None if it is unknown, used or expired or its user is inactive."""
    return (
        Invitation.objects.select_related("user")
        .filter(_acceptable(), token_digest=digest(unverified_handle), used_at=None, expires_at__gt=now)
        .first()
    )


def _acceptable() -> Q:
    """Invitations of active users, whose makers are not disabled. One of a member of staff works only if its maker may
    manage them now.

    The user may have become a member of staff, or got more rights, after somebody with fewer rights
    had got the link.
    """
    # EXISTS and not a join: an UPDATE with a join is not one conditional statement (docs/adr/0003).
    active = User.objects.filter(pk=OuterRef("user_id"), is_active=True)
    by_superuser = User.objects.filter(pk=OuterRef("invited_by_id"), is_superuser=True)
    manages_staff = _permissions_of(OuterRef("invited_by_id")).filter(codename=ROLE_PERMISSION)
    own = _permissions_of(OuterRef(OuterRef("invited_by_id"))).values("pk")
    lacking = _permissions_of(OuterRef("user_id")).exclude(pk__in=own)
    by_disabled = User.objects.filter(pk=OuterRef("invited_by_id"), is_active=False)
    return ~Q(Exists(by_disabled)) & (
        Q(Exists(active.filter(is_staff=False, is_superuser=False)))
        | Q(Exists(active), Exists(by_superuser))
        | Q(Exists(active.filter(is_superuser=False)), Exists(manages_staff), ~Exists(lacking))
    )


def _permissions_of(user: OuterRef) -> QuerySet[Permission]:
    """As User.given_permissions, for a subquery."""
    return Permission.objects.filter(Q(user=user) | Q(group__user=user))


@transaction.atomic(durable=True)
def accept_invitation(invitation_id: UUID, password: str, now: datetime) -> bool:
    """Sets the password, once: one of two concurrent calls succeeds. Ends all older sessions and any lock."""
    invitation = Invitation.objects.select_related("user").get(pk=invitation_id)
    open_still = Invitation.objects.filter(_acceptable(), pk=invitation_id, used_at=None, expires_at__gt=now)
    if not open_still.update(used_at=now):
        return False
    user = User.objects.select_for_update().get(pk=invitation.user_id)
    if user.has_signed_up:
        _notify(user, PASSWORD_SET, [user.email], now)
    user.set_password(password)
    user.session_epoch += 1
    user.save(update_fields=["password", "session_epoch"])
    SIGN_INS.clear(lockout.for_user(user.email))  # these were guesses at the old password
    record(events.INVITATION_ACCEPTED, about_user(user), now)
    wake([user_topic(user)])
    return True


@transaction.atomic(durable=True)
def disable(user: User, by: User, now: datetime) -> bool:
    """Disables a user and ends every session.

    Grants and requests stop working too, because they require an active user.
    """
    if not User.objects.filter(pk=user.pk, is_active=True).update(
        is_active=False, session_epoch=F("session_epoch") + 1
    ):
        return False
    record_revocation(events.USER_DISABLED, about_user(user, by), now)
    wake([user_topic(user)])
    return True


@transaction.atomic(durable=True)
def end_sessions(user: User, by: User, now: datetime) -> None:
    """Ends every session of a user, who may sign in again."""
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    record_revocation(events.USER_SESSIONS_ENDED, about_user(user, by), now)
    wake([user_topic(user)])


@transaction.atomic
def assign_roles(user: User, roles: Collection[StaffRole], by: User, now: datetime) -> bool:
    """Sets the roles of a user, who is a member of staff from then on, or no longer. False if nothing changed.

    Raises PermissionDenied if `by` lacks a right of the user or of a role. Runs in the
    administration's transaction.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    before = user.staff_roles
    changed = [role for role in ROLES if (role in roles) != (role in before)]
    if not changed:
        return False
    if not by.has_every_right_of(user) or not all(by.may_assign(role) for role in changed):
        raise PermissionDenied
    user.groups.remove(*Group.objects.filter(name__in=[role.group_name for role in before]))
    user.groups.add(*Group.objects.filter(name__in=[role.group_name for role in roles]))
    has_other_rights = user.is_superuser or user.user_permissions.exists()
    by_group = user.is_staff and user.groups.filter(permissions__isnull=False).exists()
    user.is_staff = bool(roles) or has_other_rights or by_group
    user.save(update_fields=["is_staff"])
    facts = {"roles": [role.name for role in user.staff_roles], "roles_before": [role.name for role in before]}
    record(events.USER_ROLES_CHANGED, about_user(user, by), now, **facts)
    return True


@transaction.atomic(durable=True)
def enable(user: User, by: User, now: datetime) -> bool:
    if not User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
        return False
    record(events.USER_ENABLED, about_user(user, by), now)
    return True


def sweep(now: datetime, batch: int) -> int:
    """Deletes expired sessions, at most `batch`."""
    sessions = Session.objects.filter(expire_date__lt=now).order_by("expire_date")[:batch]
    ended, _ = Session.objects.filter(pk__in=sessions.values("pk")).delete()
    return ended

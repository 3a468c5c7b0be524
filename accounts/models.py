"""Users and their invitations."""

import uuid
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import Permission, PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac

from accounts.staff_roles import ROLES, StaffRole
from foundation.compiled_queries import CompiledQuery, Parameter
from foundation.handles import new_id

SIGN_IN_PERMISSION = "manage_sign_in"  # its holder can become any user who has no more permissions
ROLE_PERMISSION = "assign_roles"  # its holder manages staff, and assigns roles of no more permissions
END_PERMISSION = "disable_user"
E164 = r"^\+[1-9][0-9]{6,14}\Z"  # ITU-T E.164


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A user. `id` is the `sub` of tokens and never changes; the e-mail address may change."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField("e-mail address", max_length=254, unique=True)
    name = models.CharField("full name", max_length=150, blank=True)
    phone = models.CharField(
        "phone number", max_length=16, null=True, blank=True, unique=True, validators=[RegexValidator(E164)],
        help_text="With country code, such as +4915112345678. Agents may name the user by this number.",
    )  # fmt: skip
    is_active = models.BooleanField(
        "active",
        default=True,
        help_text="A disabled user cannot sign in or answer requests, and every session ends at once.",
    )
    is_staff = models.BooleanField("administrator", default=False, help_text="The user may open the administration.")
    created_at = models.DateTimeField(auto_now_add=True)
    # Part of every session's hash. Raising it ends all sessions for good, even if the user is
    # enabled again.
    session_epoch = models.PositiveIntegerField(default=0, editable=False)

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        verbose_name = "user"
        verbose_name_plural = "users"
        default_permissions = ("add", "change", "view")
        permissions = [
            (SIGN_IN_PERMISSION, "Can make sign-in links for users and change what identifies them"),
            (ROLE_PERMISSION, "Can manage staff and assign roles to users"),
            (END_PERMISSION, "Can disable users and end their sessions"),
        ]
        constraints = [models.CheckConstraint(name="user_email_is_lower", condition=models.Q(email=Lower("email")))]
        # For the administration's list. Migration 0002 adds an index for the beginnings of names.
        indexes = [
            models.Index(name="user_administrator", fields=["email"], condition=models.Q(is_staff=True)),
            models.Index(name="user_disabled", fields=["email"], condition=models.Q(is_active=False)),
        ]

    def __str__(self) -> str:
        return self.name or self.email

    def clean(self) -> None:
        super().clean()
        self.email = self.email.strip().lower()
        self.phone = self.phone or None  # NULL, because the unique constraint would also apply to an empty string

    def given_permissions(self) -> set[int]:
        """The user's permissions, including those of a disabled user, which apply again once the user is enabled."""
        given = Permission.objects.filter(models.Q(user=self) | models.Q(group__user=self))
        return set(given.values_list("pk", flat=True))

    def has_every_right_of(self, other: "User") -> bool:
        """Whether this user may manage `other`: nobody manages a user who has a right that they lack."""
        if self.is_superuser or other.is_superuser:
            return self.is_superuser
        return other.given_permissions() <= self.given_permissions()

    @property
    def staff_roles(self) -> list[StaffRole]:
        """The user's roles, in the order of the table."""
        names = {group.name for group in self.groups.all()}
        return [role for role in ROLES if role.group_name in names]

    def may_assign(self, role: StaffRole) -> bool:
        """Whether this user has the permission to assign roles, and every permission of this one."""
        return self.has_perm(f"accounts.{ROLE_PERMISSION}") and self.has_perms(role.permissions)

    @property
    def has_signed_up(self) -> bool:
        """Whether the user has ever accepted an invitation.

        Before that, the inviting administrator holds the link anyway.
        """
        return self.has_usable_password() or self.last_login is not None

    def get_session_auth_hash(self) -> str:
        return self._session_hash()

    def get_session_auth_fallback_hash(self) -> Any:
        return iter(())

    def _session_hash(self) -> str:
        return salted_hmac(
            "countersign.session", f"{self.password}:{self.session_epoch}", algorithm="sha256"
        ).hexdigest()

    @property
    def sub(self) -> str:
        """The OpenID Connect subject identifier."""
        return str(self.id)


_LOCKED = CompiledQuery(
    lambda: User.objects.select_for_update(no_key=True).filter(pk=Parameter("user")).values_list("pk")
)


def lock_user(user: User) -> None:
    """Locks the user's row until the transaction ends. Rows that refer to it can still be inserted."""
    _LOCKED(user=user.pk)


class Invitation(models.Model):
    """A one-time link with which a user sets a password. Only its digest is stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations")
    invited_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    token_digest = models.BinaryField(max_length=32, unique=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"invitation of {self.user}"

"""Users in the administration: invited, disabled and enabled. Administrators cannot delete users or set passwords."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts import lifecycle
from accounts.admin_forms import UserForm
from accounts.admin_list import UserList
from accounts.models import END_PERMISSION, ROLE_PERMISSION, SIGN_IN_PERMISSION, Invitation, User
from accounts.staff_roles import GROUP_NAMES
from audit.record import About
from foundation.admin import NoDeletion, ReadOnly

MAY_NOT = "You may not create a sign-in link for this user: whoever opens the link can act as the user."

MORE_RIGHTS = "You may not manage a user who has a right that you lack. Ask an administrator or a superuser."


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address", max_length=254)
    name = forms.CharField(label="Full name", max_length=150, required=False)


@admin.register(User)
class UserAdmin(UserList, NoDeletion):
    form = UserForm
    list_display = ("email", "name", "is_active", "roles", "last_login")
    list_filter = ("is_active", "is_staff", "groups")
    fieldsets = (
        (None, {"fields": ("email", "name", "phone", "is_active", "roles", "id", "last_login", "created_at")}),
        (
            "Single rights",
            {
                "classes": ("collapse",),
                "description": "Only a superuser changes these. A role is enough for almost every administrator.",
                "fields": ("is_staff", "is_superuser", "groups", "user_permissions"),
            },
        ),
    )
    readonly_fields = ("id", "is_active", "last_login", "created_at")
    filter_horizontal = ("groups", "user_permissions")
    actions = ("disable", "end_sessions", "enable", "invite_again", *UserList.actions)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.by = request.user  # type: ignore[attr-defined]  # Django makes this class for each request
        return form

    @admin.display(description="roles", empty_value="-")
    def roles(self, obj: User) -> str:
        titles = ["Superuser"] if obj.is_superuser else [role.title for role in obj.staff_roles]
        return ", ".join(titles) or ("Single rights" if obj.is_staff else "")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only a superuser gives single permissions. Roles need the permission to assign them.

        The e-mail address and the phone number identify a user: agents name the user by them, and
        the user signs in with the address. Changing them requires the permission to manage sign-in.
        """
        own = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return own
        identity = () if self.has_sign_in_permission(request, obj) else ("email", "phone")
        roles = () if request.user.has_perm(f"accounts.{ROLE_PERMISSION}") else ("roles",)
        return (*own, *identity, *roles, "is_staff", "is_superuser", "groups", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a user with more rights. Staff are changed by those who assign roles."""
        if not super().has_change_permission(request, obj):
            return False
        by = _administrator(request)
        is_staff = obj is not None and obj.is_staff
        return obj is None or (
            by.has_every_right_of(obj) and (not is_staff or by.has_perm(f"accounts.{ROLE_PERMISSION}"))
        )

    def has_end_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this administrator may disable `obj` and end their sessions."""
        by = _administrator(request)
        return by.has_perm(f"accounts.{END_PERMISSION}") and (obj is None or by.has_every_right_of(obj))

    def has_sign_in_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this administrator may create a sign-in link for `obj`.

        The holder of a sign-in link can become that user and approve as them. So the user must not
        have more permissions than the administrator.
        """
        by = _administrator(request)
        return by.has_perm(f"accounts.{SIGN_IN_PERMISSION}") and self.has_change_permission(request, obj)

    def get_urls(self) -> list[URLPattern]:
        invite = path("invite/", self.admin_site.admin_view(self.invite_view), name="accounts_user_invite")
        return [invite, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return redirect("admin:accounts_user_invite")

    def invite_view(self, request: HttpRequest) -> HttpResponse:
        """Invites a user and shows the link once, so that the administrator can pass it on."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = InviteForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            email = form.cleaned_data["email"]
            known = User.objects.filter(email=email.strip().lower()).first()
            if page := self._display_link(request, email, form.cleaned_data["name"], known):
                return page
            form.add_error("email", MAY_NOT)
        context = {**self.admin_site.each_context(request), "form": form, "title": "Invite a user"}
        return render(request, "admin/accounts/user/invite.html", context)

    def _display_link(self, request: HttpRequest, email: str, name: str, known: User | None) -> HttpResponse | None:
        """The page with the link, or None if this administrator may not create one."""
        may_sign_in = known is not None and self.has_sign_in_permission(request, known)
        if not may_sign_in and known is not None and not self.has_change_permission(request, known):
            return None
        made = lifecycle.invite(email, name, _administrator(request), timezone.now(), only_new=not may_sign_in)
        if isinstance(made, lifecycle.HasSignedUp):
            return None
        user, handle = made
        link = settings.ISSUER_URL + reverse("invitation", args=[handle])
        title = f"Invitation of {user.email}"
        context = {**self.admin_site.each_context(request), "invited": user, "link": link, "title": title}
        return render(request, "admin/accounts/user/invited.html", context)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        changed = sorted(set(form.changed_data) - {"roles"})  # assign_roles has an event of its own
        if changed:
            before = form.initial.get("email", obj.email)
            lifecycle.record_change(obj, before, changed, _administrator(request), timezone.now())

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if "roles" in form.changed_data:
            lifecycle.assign_roles(form.instance, form.chosen_roles(), _administrator(request), timezone.now())

    @admin.action(description="Disable: end every session, grant and lease of the user", permissions=["end"])
    def disable(self, request: HttpRequest, queryset: Any) -> None:
        by, now = _administrator(request), timezone.now()
        users = self._permitted(request, queryset, self.has_end_permission)
        if by in users:
            self.message_user(request, "You cannot disable yourself.", messages.ERROR)
            return
        count = sum(lifecycle.disable(user, by, now) for user in users)
        self.message_user(request, f"{count} users disabled. Their sessions have ended.")

    @admin.action(description="End every session: the user must sign in again", permissions=["end"])
    def end_sessions(self, request: HttpRequest, queryset: Any) -> None:
        users = self._permitted(request, queryset, self.has_end_permission)
        for user in users:
            lifecycle.end_sessions(user, _administrator(request), timezone.now())
        self.message_user(request, f"The sessions of {len(users)} users have ended.")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: Any) -> None:
        users = self._permitted(request, queryset, self.has_change_permission)
        count = sum(lifecycle.enable(user, _administrator(request), timezone.now()) for user in users)
        self.message_user(request, f"{count} users enabled.")

    @admin.action(
        description="New sign-in link (sets a new password; Countersign notifies the user)", permissions=["change"]
    )
    def invite_again(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        users = self._permitted(request, queryset, self.has_change_permission)
        if len(users) != 1:
            self.message_user(request, "Choose one user.", messages.ERROR)
            return None
        page = self._display_link(request, users[0].email, users[0].name, users[0])
        if page is None:
            self.message_user(request, MAY_NOT, messages.ERROR)
        return page

    def _permitted(self, request: HttpRequest, queryset: Any, has_permission: Callable[..., bool]) -> list[User]:
        """The selected users that this administrator has the permission for. Shows a message if some were left out."""
        chosen = list(queryset)
        permitted = [user for user in chosen if has_permission(request, user)]
        if len(permitted) < len(chosen):
            self.message_user(request, MORE_RIGHTS, messages.ERROR)
        return permitted


def _administrator(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("the administration requires a signed-in user")
    return request.user


@admin.register(Invitation)
class InvitationAdmin(ReadOnly):
    list_display = ("user", "invited_by", "created_at", "expires_at", "used_at")
    fields = list_display


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(NoDeletion):
    """Groups of users. Agents may be allowed to ask a whole group.

    So every change of membership is recorded, and an empty group remains.
    """

    search_fields = ("name",)
    filter_horizontal = ("permissions",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """As for users: only a superuser gives permissions."""
        return () if request.user.is_superuser else ("permissions",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes the group of a role: accounts/staff_roles.py says what its members may do."""
        is_role = obj is not None and obj.name in GROUP_NAMES
        return not is_role and super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        about = About(f"user:{_administrator(request).id}")
        lifecycle.save_group(obj, form.changed_data, about, timezone.now())

"""Users in the administration: invited, disabled and enabled. Administrators cannot delete users or set passwords."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from accounts import lifecycle
from accounts.admin_list import UserList
from accounts.models import SIGN_IN_PERMISSION, Invitation, User
from audit.record import About
from foundation.admin import NoDeletion, ReadOnly

MAY_NOT = "You may not create a sign-in link for this user: whoever opens the link can act as the user."


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address", max_length=254)
    name = forms.CharField(label="Full name", max_length=150, required=False)


@admin.register(User)
class UserAdmin(UserList, NoDeletion):
    list_display = ("email", "name", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff", "groups")
    fields = (
        "email",
        "name",
        "phone",
        "is_active",
        "is_staff",
        "is_superuser",
        "groups",
        "user_permissions",
        "id",
        "last_login",
        "created_at",
    )
    readonly_fields = ("id", "is_active", "last_login", "created_at")
    filter_horizontal = ("groups", "user_permissions")
    actions = ("disable", "enable", "invite_again", *UserList.actions)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only a superuser creates administrators or gives permissions.

        The e-mail address and the phone number identify a user: agents name the user by them, and
        the user signs in with the address. Changing them requires the permission to manage sign-in.
        """
        own = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return own
        identity = () if self.has_sign_in_permission(request, obj) else ("email", "phone")
        return (*own, *identity, "is_staff", "is_superuser", "groups", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser may change an administrator."""
        above = obj is not None and (obj.is_staff or obj.is_superuser) and not request.user.is_superuser
        return not above and super().has_change_permission(request, obj)

    def has_sign_in_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this administrator may create a sign-in link for `obj`.

        The holder of a sign-in link can become that user and approve as them. So the user must not
        have more permissions than the administrator.
        """
        by = _administrator(request)
        if not by.has_perm(f"accounts.{SIGN_IN_PERMISSION}") or not self.has_change_permission(request, obj):
            return False
        return obj is None or by.is_superuser or bool(obj.given_permissions() <= by.given_permissions())

    def get_urls(self) -> list[URLPattern]:
        invite = path("invite/", self.admin_site.admin_view(self.invite_view), name="accounts_user_invite")
        return [invite, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        return redirect("admin:accounts_user_invite")

    def invite_view(self, request: HttpRequest) -> HttpResponse:
        """Invites a user and shows the link once, so that the administrator can pass it on."""
        if not self.has_add_permission(request):
            return redirect("admin:index")
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
        if form.changed_data:
            before = form.initial.get("email", obj.email)
            changed = sorted(form.changed_data)
            lifecycle.record_change(obj, before, changed, _administrator(request), timezone.now())

    @admin.action(description="Disable: end every session, grant and lease of the user", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: Any) -> None:
        by, now = _administrator(request), timezone.now()
        users = self._changeable(request, queryset)
        if by in users:
            self.message_user(request, "You cannot disable yourself.", messages.ERROR)
            return
        count = sum(lifecycle.disable(user, by, now) for user in users)
        self.message_user(request, f"{count} users disabled. Their sessions have ended.")

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: Any) -> None:
        users = self._changeable(request, queryset)
        count = sum(lifecycle.enable(user, _administrator(request), timezone.now()) for user in users)
        self.message_user(request, f"{count} users enabled.")

    @admin.action(
        description="New sign-in link (sets a new password; Countersign notifies the user)", permissions=["change"]
    )
    def invite_again(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        users = self._changeable(request, queryset)
        if len(users) != 1:
            self.message_user(request, "Choose one user.", messages.ERROR)
            return None
        page = self._display_link(request, users[0].email, users[0].name, users[0])
        if page is None:
            self.message_user(request, MAY_NOT, messages.ERROR)
        return page

    def _changeable(self, request: HttpRequest, queryset: Any) -> list[User]:
        """The selected users that this administrator may change. Shows a message if some were left out."""
        chosen = list(queryset)
        changeable = [user for user in chosen if self.has_change_permission(request, user)]
        if len(changeable) < len(chosen):
            self.message_user(request, "Only a superuser may change an administrator.", messages.ERROR)
        return changeable


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

    def save_model(self, request: HttpRequest, obj: Group, form: Any, change: bool) -> None:
        about = About(f"user:{_administrator(request).id}")
        lifecycle.save_group(obj, form.changed_data, about, timezone.now())

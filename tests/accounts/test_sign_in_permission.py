# ruff: noqa: F811 - fixtures of other files
"""Who can make a sign-in link for a user can act, and approve, as that user: who may, and that the user is told."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core import mail as outbound_mail
from django.test import Client
from django.utils import timezone

from accounts import lifecycle
from accounts.models import Invitation, User
from devices.models import Device
from foundation.models import Work
from tests.accounts.test_invitations import NEW_PASSWORD
from tests.devices.conftest import device, do_due_work, push_service, vapid_key  # noqa: F401 - fixtures
from tests.support.push_service import PushService
from tests.support.world import make_user, sign_in

pytestmark = pytest.mark.django_db


def permission(name: str) -> Permission:
    app, _, codename = name.partition(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


def make_clerk(*names: str, **fields: Any) -> Client:
    clerk = make_user("clerk@example.com", is_staff=True, **fields)
    clerk.user_permissions.set(permission(name) for name in names)
    return sign_in(clerk)


ORDINARY = ["accounts.add_user", "accounts.change_user", "accounts.view_user"]
SIGN_IN = [*ORDINARY, "accounts.manage_sign_in"]
WAYS = {
    "the action": lambda browser, user: browser.post(
        "/admin/accounts/user/", {"action": "invite_again", "_selected_action": str(user.pk)}
    ),
    "the invitation": lambda browser, user: browser.post(
        "/admin/accounts/user/invite/", {"email": user.email.upper(), "name": ""}
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
class TestSignInLinks:
    def test_not_by_who_may_only_change_users(self, way: Any, user: User) -> None:
        answer = way(make_clerk(*ORDINARY), user)
        assert "/invitations/" not in answer.content.decode()
        assert not Invitation.objects.exists()

    def test_by_who_may_manage_sign_in(self, way: Any, user: User) -> None:
        assert "/invitations/" in way(make_clerk(*SIGN_IN), user).content.decode()

    def test_by_a_superuser(self, way: Any, user: User, administrator: User) -> None:
        assert "/invitations/" in way(sign_in(administrator), user).content.decode()

    @pytest.mark.parametrize("is_active", [True, False], ids=["enabled", "disabled"])
    @pytest.mark.parametrize("given", ["a permission", "a group with a permission", "staff", "superuser"])
    def test_never_for_a_user_with_more_rights(self, way: Any, given: str, is_active: bool) -> None:
        above = make_user("above@example.com", is_active=is_active)
        more = permission("clients.change_agent")
        if given == "a permission":
            above.user_permissions.add(more)
        elif given == "a group with a permission":
            group = Group.objects.create(name="Operators")
            group.permissions.add(more)
            above.groups.add(group)
        else:
            User.objects.filter(pk=above.pk).update(is_staff=True, is_superuser=given == "superuser")
        assert "/invitations/" not in way(make_clerk(*SIGN_IN), above).content.decode()
        assert not Invitation.objects.exists()

    def test_for_a_user_with_the_same_rights(self, way: Any, user: User) -> None:
        user.user_permissions.add(permission("accounts.view_user"))
        assert "/invitations/" in way(make_clerk(*SIGN_IN), user).content.decode()

    def test_again_for_who_was_invited_and_never_came(self, way: Any, administrator: User) -> None:
        """Whoever invited them has had their link already, and nobody is there to be told."""
        invited, _ = lifecycle.invite("new@example.com", "New", administrator, timezone.now())
        assert "/invitations/" in way(make_clerk(*ORDINARY), invited).content.decode()
        assert not Work.objects.exists()


class TestWhatIdentifiesAUser:
    def change(self, browser: Client, user: User, **changed: str) -> None:
        form = {"email": user.email, "name": user.name, "phone": "", **changed}
        browser.post(f"/admin/accounts/user/{user.pk}/change/", form)
        user.refresh_from_db()

    def test_not_by_who_may_only_change_users(self, user: User) -> None:
        self.change(make_clerk(*ORDINARY), user, email="mine@example.com", phone="+4915112345678", name="Renamed")
        assert (user.email, user.phone, user.name) == ("person@example.com", None, "Renamed")

    @pytest.mark.parametrize("changed", [{"email": "other@example.com"}, {"phone": "+4915112345678"}])
    def test_by_who_may_manage_sign_in(self, user: User, changed: dict[str, str]) -> None:
        self.change(make_clerk(*SIGN_IN), user, **changed)
        assert {name: getattr(user, name) for name in changed} == changed

    def test_not_of_a_user_with_more_rights(self, user: User) -> None:
        user.user_permissions.add(permission("clients.change_agent"))
        self.change(make_clerk(*SIGN_IN), user, email="mine@example.com")
        assert user.email == "person@example.com"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("is_staff", "on"),
            ("is_superuser", "on"),
            ("user_permissions", "all"),
            ("groups", "all"),
            ("password", "x" * 20),
        ],
    )
    def test_nobody_but_a_superuser_gives_rights(self, user: User, field: str, value: str) -> None:
        group = Group.objects.create(name="Operators")
        sent = {"user_permissions": str(permission("clients.change_agent").pk), "groups": str(group.pk)}.get(
            field, value
        )
        before = user.password
        self.change(make_clerk(*SIGN_IN), user, **{field: sent})
        assert not user.is_staff and not user.is_superuser and user.password == before
        assert not user.user_permissions.exists() and not user.groups.exists()

    def test_nor_to_a_group(self, user: User) -> None:
        group = Group.objects.create(name="Operators")
        browser = make_clerk(*SIGN_IN, "auth.change_group")
        sent = {"name": "Operators", "permissions": str(permission("accounts.manage_sign_in").pk)}
        browser.post(f"/admin/auth/group/{group.pk}/change/", sent)
        assert not group.permissions.exists()

    def test_devices_and_invitations_are_only_looked_at(self, administrator: User, user: User, device: Device) -> None:
        lifecycle.invite(user.email, "", administrator, timezone.now())
        browser = sign_in(administrator)
        for path, row in (("devices/device", device), ("accounts/invitation", Invitation.objects.get())):
            assert browser.get(f"/admin/{path}/add/").status_code == 403
            delete = {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"}
            browser.post(f"/admin/{path}/", delete)
            browser.post(f"/admin/{path}/{row.pk}/delete/", {"post": "yes"})
            assert type(row).objects.filter(pk=row.pk).exists()


@pytest.mark.django_db(transaction=True)
class TestTheUserIsNotified:
    """On every device and by mail: whoever opens the link acts as them."""

    @pytest.fixture(autouse=True)
    def mail_server(self, settings: Any) -> None:
        settings.EMAIL_HOST = "mail.example.com"  # Django's test runner keeps what is sent in memory

    def reply(self, push_service: PushService) -> tuple[list[str], list[str]]:
        """Kinds of pushes, and who got a mail."""
        assert set(do_due_work()) <= {"done"}
        assert all("http" not in str(message.body) for message in outbound_mail.outbox), "there is never a link"
        pushes = [push.message["kind"] for push in push_service.received]
        return pushes, [message.to[0] for message in outbound_mail.outbox]

    def test_of_a_link_and_of_its_use(
        self, user: User, administrator: User, device: Device, push_service: PushService
    ) -> None:
        _, handle = lifecycle.invite(user.email, "", administrator, timezone.now())
        assert self.reply(push_service) == (["sign_in_link"], [user.email])
        Client().post(f"/invitations/{handle}", {"password": NEW_PASSWORD})
        assert self.reply(push_service) == (["sign_in_link", "password_set"], [user.email] * 2)

    @pytest.mark.parametrize("changed", [{"email": "other@example.com"}, {"phone": "+4915112345678"}])
    def test_of_another_address(
        self, user: User, administrator: User, device: Device, push_service: PushService, changed: dict[str, str]
    ) -> None:
        form = {"email": user.email, "name": user.name, "phone": "", **changed}
        sign_in(administrator).post(f"/admin/accounts/user/{user.pk}/change/", form)
        addresses = sorted({user.email, form["email"]})
        assert self.reply(push_service) == (["address_changed"], addresses)

    def test_not_of_another_name(self, user: User, administrator: User, device: Device) -> None:
        form = {"email": user.email, "name": "Another", "phone": ""}
        sign_in(administrator).post(f"/admin/accounts/user/{user.pk}/change/", form)
        assert not Work.objects.exists()

    def test_and_sees_it_under_activity(self, user: User, administrator: User) -> None:
        browser = sign_in(user)
        lifecycle.invite(user.email, "", administrator, timezone.now() - timedelta(seconds=1))
        assert "An administrator created a sign-in link for you" in browser.get("/activity").content.decode()


@pytest.mark.parametrize("became", ["is_staff", "is_superuser"])
def test_a_link_by_somebody_of_less_rights_ends_with_a_promotion(became: str, administrator: User) -> None:
    """Whoever made it still has it, and would act as the new administrator."""
    manager = User.objects.create_user("manager@example.com", name="Manager", is_staff=True)
    newcomer, handle = lifecycle.invite("new@example.com", "New", manager, timezone.now())
    invitation = lifecycle.find_invitation(handle, timezone.now())
    assert invitation is not None
    User.objects.filter(pk=newcomer.pk).update(**{became: True})
    assert lifecycle.find_invitation(handle, timezone.now()) is None
    assert not lifecycle.accept_invitation(invitation.id, "correct horse battery", timezone.now())
    _, handle = lifecycle.invite("new@example.com", "New", administrator, timezone.now())
    invitation = lifecycle.find_invitation(handle, timezone.now())
    assert invitation is not None and lifecycle.accept_invitation(
        invitation.id, "correct horse battery", timezone.now()
    )

"""Invitations: a link of one use and 24 hours, by which a user sets a password."""

import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts import lifecycle
from accounts.models import Invitation, User
from audit.models import Event
from tests.support.world import PASSWORD, make_user, sign_in

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "seven quiet herons wade"


@pytest.fixture
def link(administrator: User) -> str:
    """Made in the administration, as it is shown there."""
    page = sign_in(administrator).post("/admin/accounts/user/invite/", {"email": "New@Example.com", "name": "Nell New"})
    found = re.search(rf"{settings.ISSUER_URL}(/invitations/[\w-]{{43}})", page.content.decode())
    assert found
    return found[1]


def test_from_invited_to_signed_in(link: str) -> None:
    browser = Client()
    assert b"Nell New" in browser.get(link).content
    assert browser.post(link, {"password": NEW_PASSWORD})["Location"] == "/login"
    user = User.objects.get(email="new@example.com")
    assert sign_in(user, NEW_PASSWORD).get("/").status_code == 200
    kinds = Event.objects.filter(user_id=user.id).order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["user.invited", "invitation.accepted", "user.signed_in"]


def test_opening_the_link_does_not_use_it_up(link: str) -> None:
    for _ in range(3):
        assert Client().get(link).status_code == 200
    assert Client().post(link, {"password": NEW_PASSWORD}).status_code == 302


def test_it_works_once(link: str) -> None:
    Client().post(link, {"password": NEW_PASSWORD})
    assert Client().post(link, {"password": "another quiet password"}).status_code == 404
    assert Client().get(link).status_code == 404
    assert User.objects.get(email="new@example.com").check_password(NEW_PASSWORD)


def test_it_ends_after_a_day(link: str) -> None:
    invitation = Invitation.objects.get()
    assert invitation.expires_at - invitation.created_at == timedelta(hours=24)
    Invitation.objects.update(expires_at=timezone.now())
    page = Client().post(link, {"password": NEW_PASSWORD})
    assert page.status_code == 404
    assert not User.objects.get(email="new@example.com").has_usable_password()


def test_a_new_one_ends_the_one_before(link: str, administrator: User) -> None:
    lifecycle.invite("new@example.com", "", administrator, timezone.now())
    assert Client().get(link).status_code == 404


def test_a_disabled_user_cannot_accept(link: str, administrator: User) -> None:
    lifecycle.disable(User.objects.get(email="new@example.com"), administrator, timezone.now())
    assert Client().post(link, {"password": NEW_PASSWORD}).status_code == 404


@pytest.mark.parametrize("weak", ["", "short", "password1234", "new@example.com", "x" * 1025])
def test_a_weak_password_is_a_form_error_and_the_link_stays(link: str, weak: str) -> None:
    assert Client().post(link, {"password": weak}).status_code == 400
    assert Client().post(link, {"password": NEW_PASSWORD}).status_code == 302


@pytest.mark.parametrize("handle", ["x", "x" * 43, "x" * 5000, "%00", "%ff", "é"])
def test_made_up_links(handle: str) -> None:
    response = Client().get(f"/invitations/{handle}")
    assert response.status_code == (400 if handle == "%00" else 404)
    assert response["Content-Type"].startswith("text/html")


def test_only_a_digest_is_stored(link: str) -> None:
    handle = link.rpartition("/")[2]
    stored = [str(value) for row in Invitation.objects.values() for value in row.values()]
    assert not any(handle in value for value in [*stored, *Event.objects.values_list("body", flat=True)])


def test_accepting_ends_older_sessions(user: User, administrator: User) -> None:
    """The way to a new password, and out for whoever knew the old one."""
    browser = sign_in(user)
    _, handle = lifecycle.invite(user.email, "", administrator, timezone.now())
    Client().post(f"/invitations/{handle}", {"password": NEW_PASSWORD})
    assert browser.get("/").status_code == 302
    assert Client().post("/login", {"email": user.email, "password": PASSWORD}).status_code == 400


class TestTheAdministration:
    def test_nobody_else_opens_it(self, user: User) -> None:
        for browser in (Client(), sign_in(user)):
            assert browser.get("/admin/").status_code == 302
            response = browser.post("/admin/accounts/user/invite/", {"email": "x@example.com"})
            assert response.status_code == 302
        assert not Invitation.objects.exists()

    def test_whoever_opens_it_signs_in_once(self, administrator: User) -> None:
        """And is where they wanted to be, not at a second sign-in."""
        browser = Client()
        form = browser.get("/admin/audit/event/?q=x", follow=True)
        assert "Sign in" in form.content.decode()
        page = browser.post(
            "/login",
            {"email": administrator.email, "password": PASSWORD, "next": form.context["next"]},
            follow=True,
        )
        assert (page.status_code, page.redirect_chain) == (200, [("/admin/audit/event/?q=x", 302)])
        assert browser.get("/admin/login/?next=/admin/audit/event/")["Location"] == "/admin/audit/event/"
        for elsewhere in ("//evil.example/admin/", "https://evil.example/", "javascript:alert(1)", ""):
            assert browser.get("/admin/login/", {"next": elsewhere})["Location"] == "/admin/"

    def test_who_is_no_administrator_is_told_so(self, user: User) -> None:
        refused = sign_in(user).get("/admin/", follow=True)
        assert refused.status_code == 403 and "You may not do this" in refused.content.decode()

    def test_users_are_not_deleted(self, user: User, administrator: User) -> None:
        browser = sign_in(administrator)
        assert browser.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"}).status_code == 403
        act = {"action": "delete_selected", "_selected_action": str(user.pk), "post": "yes"}
        browser.post("/admin/accounts/user/", act)
        assert User.objects.filter(pk=user.pk).exists()

    def test_disabling_by_action(self, user: User, administrator: User) -> None:
        act = {"action": "disable", "_selected_action": str(user.pk)}
        sign_in(administrator).post("/admin/accounts/user/", act)
        user.refresh_from_db()
        assert not user.is_active
        assert Event.objects.get(kind="user.disabled").actor == f"user:{administrator.id}"

    def test_nobody_disables_themselves(self, administrator: User) -> None:
        act = {"action": "disable", "_selected_action": str(administrator.pk)}
        sign_in(administrator).post("/admin/accounts/user/", act)
        administrator.refresh_from_db()
        assert administrator.is_active

    def test_a_staff_member_makes_no_superuser_and_takes_over_none(self, administrator: User) -> None:
        clerk = make_user("clerk@example.com", is_staff=True)
        own = Permission.objects.filter(content_type__app_label="accounts")
        clerk.user_permissions.set(own.exclude(codename="assign_roles"))
        other = make_user("other@example.com")
        browser = sign_in(clerk)
        change = {"email": clerk.email, "name": "C", "is_staff": "on", "is_superuser": "on", "user_permissions": "1"}
        browser.post(f"/admin/accounts/user/{other.pk}/change/", {**change, "email": other.email})
        browser.post(f"/admin/accounts/user/{clerk.pk}/change/", change)
        other.refresh_from_db()
        clerk.refresh_from_db()
        assert other.name == "C" and not other.is_staff and not other.is_superuser
        assert not clerk.name and not clerk.is_superuser
        # Whoever could hand themselves an administrator's invitation link would be the administrator.
        takeovers = [
            ("/admin/accounts/user/", {"action": "invite_again", "_selected_action": str(administrator.pk)}),
            ("/admin/accounts/user/invite/", {"email": administrator.email, "name": ""}),
        ]
        for path, form in takeovers:
            assert b"/invitations/" not in browser.post(path, form).content
        browser.post(f"/admin/accounts/user/{administrator.pk}/change/", {"email": "mine@example.com", "name": "C"})
        browser.post("/admin/accounts/user/", {"action": "disable", "_selected_action": str(administrator.pk)})
        administrator.refresh_from_db()
        assert administrator.email == "administrator@example.com" and administrator.is_active
        assert not Invitation.objects.exists()

    def test_groups_are_on_the_record_and_stay(self, administrator: User) -> None:
        """An agent may be allowed to ask everybody in a group."""
        browser = sign_in(administrator)
        browser.post("/admin/auth/group/add/", {"name": "Treasury"})
        group = Group.objects.get(name="Treasury")
        browser.post(f"/admin/auth/group/{group.pk}/change/", {"name": "Treasury department"})
        bodies = Event.objects.filter(kind="group.changed").order_by("id").values_list("body", flat=True)
        assert ["Treasury department" in body for body in bodies] == [False, True]
        assert browser.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 403

"""What every answer carries, whatever asks for it: headers, pages that say what to do, no redirect to elsewhere."""

import pytest
from django.test import Client

from accounts.models import User
from tests.properties.test_never_500 import every_path
from tests.support.world import sign_in

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("path", every_path())
def test_every_answer(path: str, user: User, signing: None) -> None:
    signed_in = Client()
    signed_in.force_login(user)
    for answer in (Client().get(path), signed_in.get(path)):
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] in {"same-origin", "no-referrer"}
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        if (
            not answer["Content-Type"].startswith("text/html")
            or answer.has_header("Location")
            or answer.status_code == 204
        ):
            continue
        policy = answer["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert b"<h1" in answer.content, "a page is never blank"
        if b"Sign out" in answer.content and answer.status_code == 200:
            assert "no-store" in answer["Cache-Control"], "what is a user's own is kept by no cache"


@pytest.mark.parametrize("host", ["evil.example.com", "localhost@evil.example.com", "a b", ""])
def test_no_page_believes_a_host_that_is_not_ours(host: str, user: User) -> None:
    answer = sign_in(user).get("/", headers={"Host": host})
    assert answer.status_code == 400 and b"evil" not in answer.content


def test_metadata_does_not_follow_the_host_header(signing: None) -> None:
    for headers in ({"Host": "evil.example.com"}, {"X-Forwarded-Host": "evil.example.com"}):
        answer = Client().get("/.well-known/openid-configuration", headers=headers)
        assert answer.status_code == 200 and b"evil" not in answer.content


def test_a_button_that_was_opened_like_a_page_says_so(user: User) -> None:
    """The session had ended: after signing in again the browser opens the address by GET."""
    answer = sign_in(user).get("/agents/7/stop")
    assert answer.status_code == 405 and answer["Allow"] == "POST"
    assert b"This address only accepts forms" in answer.content

"""Known browsers: browsers in which a user has signed in before.

An attacker who guesses passwords elsewhere cannot lock the user out of a known browser. A signed
cookie names the user. It grants no access: it only exempts its browser from the limit that counts
all wrong passwords for this user (lockout.py). The limits per address still apply.
"""

from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from accounts.models import User

COOKIE_LIFETIME = timedelta(days=365)
_SALT = "countersign.browser"


def remember(response: HttpResponse, user: User) -> None:
    response.set_cookie(
        settings.BROWSER_COOKIE_NAME,
        signing.TimestampSigner(salt=_SALT).sign(user.sub),
        max_age=COOKIE_LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def is_known(request: HttpRequest, email: str) -> bool:
    """Whether the user with this address signed in in this browser within the last year."""
    try:
        sub = signing.TimestampSigner(salt=_SALT).unsign(
            request.COOKIES.get(settings.BROWSER_COOKIE_NAME, ""), max_age=COOKIE_LIFETIME
        )
    except signing.BadSignature:
        return False
    return User.objects.filter(pk=sub, email=email).exists()

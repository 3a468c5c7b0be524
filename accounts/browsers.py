"""Browsers in which a person has signed in before: whoever guesses elsewhere cannot lock the person out of them.

A signed cookie names the person. It opens nothing: it only spares its browser the limit that counts everybody's
wrong passwords for this person (lockout.py); the limits per address hold for it all the same.
"""

from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from accounts.models import User

LIFETIME = timedelta(days=365)
_SALT = "countersign.browser"


def remember(response: HttpResponse, user: User) -> None:
    response.set_cookie(
        settings.BROWSER_COOKIE_NAME,
        signing.TimestampSigner(salt=_SALT).sign(user.sub),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def is_known(request: HttpRequest, email: str) -> bool:
    """Did the person with this address sign in in this browser within the last year?"""
    try:
        sub = signing.TimestampSigner(salt=_SALT).unsign(
            request.COOKIES.get(settings.BROWSER_COOKIE_NAME, ""), max_age=LIFETIME
        )
    except signing.BadSignature:
        return False
    return User.objects.filter(pk=sub, email=email).exists()

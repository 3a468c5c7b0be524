"""E-mail, a second channel that only informs: it contains no link, nothing to answer and no text of an agent."""

import smtplib
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.mail import send_mail

from accounts.models import User
from devices import lifecycle
from foundation.outbox import Abandon, Completed, Outcome, Retry

SUBJECT = "An agent waits for your answer"
TEXT = """An AI agent asks for your approval.

Open Countersign in the usual way (the installed app or your bookmark) and look in your inbox.
Countersign never puts a link into its e-mails.
"""

_WHAT_TO_DO = """
If you did not expect this, tell an administrator now. Then check your activity in Countersign (the installed app or
your bookmark). Countersign never puts a link into its e-mails.
"""
# Kind of news (accounts/lifecycle.py) → subject and text.
NEWS = {
    "sign_in_link": (
        "A sign-in link for your account was created",
        "An administrator created a link that sets a new password for your Countersign account. Whoever opens it can "
        "sign in as you.\n" + _WHAT_TO_DO,
    ),
    "password_set": (
        "Your password was changed",
        "Somebody set a new password for your Countersign account with a link that an administrator created. All "
        "earlier sessions have ended.\n" + _WHAT_TO_DO,
    ),
    "address_changed": (
        "Your e-mail address or phone number was changed",
        "An administrator changed the e-mail address or the phone number of your Countersign account.\n" + _WHAT_TO_DO,
    ),
}


def send(payload: dict[str, Any], _now: datetime) -> Outcome:
    """The outbox's handler of MAIL. Account news is always sent; a prompt's e-mail only if no device was reached."""
    news = payload.get("news")
    if not settings.EMAIL_HOST or (news is None and lifecycle.was_reached(payload["about"])):
        return Completed()
    user = User.objects.filter(pk=payload["user"], is_active=True).first()
    if user is None:
        return Abandon("the user is disabled")
    subject, text = NEWS[news] if news else (SUBJECT, TEXT)
    try:
        send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [payload.get("address", user.email)])
    except smtplib.SMTPRecipientsRefused:
        return Abandon("the mail server refused the address")
    except (smtplib.SMTPException, OSError) as error:
        return Retry(f"the mail server cannot be used: {type(error).__name__}")
    return Completed()

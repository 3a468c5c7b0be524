"""E-mail as a second channel that only tells: no link, nothing to answer, no word of an agent."""

import smtplib
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.mail import send_mail

from accounts.models import User
from devices import lifecycle
from foundation.outbox import Done, GiveUp, Outcome, Retry

SUBJECT = "Something waits for your answer"
TEXT = """An AI agent asks for your approval.

Open Countersign as you always do (your installed app, or your bookmark) and look at your inbox.
There is no link in this message, and there never is one.
"""


def send(payload: dict[str, Any], now: datetime) -> Outcome:
    """The outbox's handler. Where a device was reached meanwhile, nothing is sent."""
    if not settings.EMAIL_HOST or lifecycle.was_reached(payload["about"]):
        return Done()
    person = User.objects.filter(pk=payload["user"], is_active=True).first()
    if person is None:
        return GiveUp("the person was disabled")
    try:
        send_mail(SUBJECT, TEXT, settings.DEFAULT_FROM_EMAIL, [person.email])
    except smtplib.SMTPRecipientsRefused:
        return GiveUp("the mail server refused the address")
    except (smtplib.SMTPException, OSError) as error:
        return Retry(f"the mail server cannot be used: {type(error).__name__}")
    return Done()

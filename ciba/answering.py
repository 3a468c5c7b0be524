"""The person's own prompts: finding them, and answering one from a signed-in session.

Shared by the pages and /v1/prompts. The approver is always the person of the session.
"""

from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts import sessions
from accounts.models import User
from ciba import lifecycle
from ciba.models import BackchannelRequest, Prompt
from ciba.policy import AnswerVerdict
from ciba.states import State
from operations.risk import Assurance


def prompts_of(user: User) -> QuerySet[Prompt]:
    return Prompt.objects.filter(approver=user).select_related("request__agent", "request__resource")


def waiting_prompts(user: User, now: datetime) -> QuerySet[Prompt]:
    """What waits for this person's answer, the most urgent first."""
    alive = BackchannelRequest.objects.alive().filter(state=State.PENDING, expires_at__gt=now)
    return prompts_of(user).filter(request__in=alive, answer="").order_by("request__expires_at")


def find_prompt(user: User, prompt_id: UUID) -> Prompt | None:
    """This person's prompt; somebody else's is as unknown as none."""
    return prompts_of(user).filter(pk=prompt_id).first()


def answer(request: HttpRequest, user: User, prompt_id: UUID, *, approve: bool) -> AnswerVerdict:
    now = timezone.now()
    signed_in_at = sessions.signed_in_at(request)
    answerer = lifecycle.Answerer(
        user=user,
        assurance=Assurance.SESSION if sessions.is_recent(signed_in_at, now) else None,
        signed_in_at=signed_in_at,
        address=request.META["REMOTE_ADDR"],
        user_agent=request.headers.get("User-Agent", ""),
    )
    act = lifecycle.approve if approve else lifecycle.deny
    return act(prompt_id, answerer, now)

"""A user's own prompts: find them, and answer one from a signed-in session.

The pages and /v1/prompts share it. The approver is always the user of the session.
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
from foundation.compiled_queries import CompiledQuery, Parameter
from operations.risk import Assurance


def prompts_of(user: User | Parameter) -> QuerySet[Prompt]:
    return Prompt.objects.filter(approver=user).select_related("request__agent", "request__resource")


def waiting_prompts(user: User, now: datetime) -> QuerySet[Prompt]:
    """The prompts that this user can still answer, most urgent first."""
    alive = BackchannelRequest.objects.alive().filter(state=State.PENDING, expires_at__gt=now)
    return prompts_of(user).filter(request__in=alive, answer="").order_by("request__expires_at")


def find_prompt(user: User, prompt_id: UUID) -> Prompt | None:
    """This user's prompt. Another user's prompt is unknown."""
    return _FIND.first(user=user.pk, prompt=prompt_id)


_FIND = CompiledQuery(lambda: prompts_of(Parameter("user")).filter(pk=Parameter("prompt")))


def answer(request: HttpRequest, user: User, prompt_id: UUID, *, approve: bool) -> AnswerVerdict:
    now = timezone.now()
    signed_in_at = sessions.signed_in_at(request)
    answerer = lifecycle.Approver(
        user=user,
        assurance=Assurance.SESSION if sessions.is_recent(signed_in_at, now) else None,
        signed_in_at=signed_in_at,
        address=request.META["REMOTE_ADDR"],
        user_agent=request.headers.get("User-Agent", ""),
    )
    act = lifecycle.approve if approve else lifecycle.deny
    return act(prompt_id, answerer, now)

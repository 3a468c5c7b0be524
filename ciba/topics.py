"""The topics that a client can wait for: a user's prompts, and one request
(foundation/pending_answers.py).

Every state change wakes both (ciba/lifecycle/transitions.py). Waiting clients also read them again every few
seconds.
"""

from collections.abc import Hashable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Max, Q
from django.utils import timezone

from accounts.models import User
from ciba.models import BackchannelRequest, Prompt
from ciba.states import State

PROMPTS, REQUEST = "prompts", "request"


def prompts_topic(user: User) -> str:
    return f"{PROMPTS}:{user.pk}"


def request_topic(request: BackchannelRequest) -> str:
    return f"{REQUEST}:{request.pk}"


def topics_of(request: BackchannelRequest) -> list[str]:
    user_topics = [f"{PROMPTS}:{request.user_id}"] if request.user_id else []
    return [*user_topics, request_topic(request)]


def read_prompts(user_ids: Sequence[str]) -> Mapping[str, Hashable]:
    """A revision per user that changes with each new prompt, each answer, each end, and each
    agent's suspension.

    Only requests that can still change are counted: none does once its longest lifetime is over.
    """
    now = timezone.now()  # lint: allow the front reads topics again and again
    since = now - timedelta(seconds=2 * settings.REQUEST_LIFETIME_MAX)
    ids = [UUID(user_id) for user_id in user_ids]
    alive = BackchannelRequest.objects.alive().filter(user_id__in=ids, state=State.PENDING)
    counted = (
        Prompt.objects.filter(approver_id__in=ids, request__created_at__gt=since)
        .values("approver_id")
        .annotate(
            last=Max("request__created_at"),
            all=Count("pk"),
            waiting=Count("pk", filter=Q(request__in=alive)),
            approved=Count("pk", filter=Q(request__state=State.APPROVED)),
        )
        .values_list("approver_id", "last", "all", "waiting", "approved")
    )
    found: dict[str, Hashable] = {str(row[0]): row[1:] for row in counted}
    return {user_id: found.get(user_id, ()) for user_id in user_ids}


def read_requests(ids: Sequence[str]) -> Mapping[str, Hashable]:
    """The state of each request that is alive."""
    living = BackchannelRequest.objects.alive().filter(pk__in=ids).values_list("pk", "state")
    return {str(pk): state for pk, state in living}

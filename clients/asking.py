"""Whom an agent may ask: its owner, people linked to it, people in its groups; never one who stopped it."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from clients.models import Agent, AgentLink


def find_by_email(unverified_email: str) -> User | None:
    return User.objects.filter(email=unverified_email.strip().lower()).first()


def may_ask(agent: Agent, user: User) -> bool:
    """Facts of one moment; the person must be active too."""
    link = AgentLink.objects.filter(agent=agent, user=user).first()
    if not user.is_active or (link and link.stopped_at):
        return False
    if (link and link.is_linked) or agent.user_id == user.pk:
        return True
    return agent.groups.filter(user=user).exists()


def agents_that_may_ask(user: User) -> QuerySet[Agent]:
    """The agents of a person's /agents page: those that may ask, or might had the person not
    stopped them (`is_stopped`)."""
    links = AgentLink.objects.filter(agent=OuterRef("pk"), user=user)
    mine = Q(user=user) | Q(groups__user=user)
    known: QuerySet[Agent] = (
        Agent.objects.annotate(
            is_linked=Exists(links.filter(is_linked=True)),
            is_stopped=Exists(links.filter(stopped_at__isnull=False)),
        )
        .filter(mine | Q(is_linked=True))
        .distinct()
        .order_by("name")
    )
    return known

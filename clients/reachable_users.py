"""The users whom an agent may ask: its owner, linked users and users in its groups, except those who stopped it."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from clients.models import Agent, AgentLink


def reachable_by(agent: Agent) -> QuerySet[User]:
    """The active users whom this agent may ask now."""
    links = AgentLink.objects.filter(agent=agent, user=OuterRef("pk"))
    is_linked = Exists(links.filter(is_linked=True)) | Exists(agent.groups.filter(user=OuterRef("pk")))
    return User.objects.filter(
        is_linked | Q(pk=agent.user_id), ~Exists(links.filter(stopped_at__isnull=False)), is_active=True
    )


def agents_that_may_ask(user: User) -> QuerySet[Agent]:
    """The agents of a user's /agents page: those that may ask, and those that the user has stopped (`is_stopped`)."""
    links = AgentLink.objects.filter(agent=OuterRef("pk"), user=user)
    owns_or_shares_group = Q(user=user) | Q(groups__user=user)
    known: QuerySet[Agent] = (
        Agent.objects.annotate(
            is_linked=Exists(links.filter(is_linked=True)),
            is_stopped=Exists(links.filter(stopped_at__isnull=False)),
        )
        .filter(owns_or_shares_group | Q(is_linked=True))
        .distinct()
        .order_by("name")
    )
    return known

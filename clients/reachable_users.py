"""The users whom an agent may ask: its owner, linked users and users in its groups, except those who stopped it."""

from functools import cache

from django.contrib.auth.models import Group
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.models import User
from clients.models import Agent, AgentLink
from foundation.compiled_queries import CompiledQuery, ExistsByKey, Parameter


def find_reachable(agent: Agent, field: str, value: str) -> User | None:
    """The active user with this value of a unique field, if the agent may ask them now."""
    return _reachable(field).first(agent=agent.pk, owner=agent.user_id, value=value)


@cache
def _reachable(field: str) -> CompiledQuery[User]:
    named = {field: Parameter("value")}
    return CompiledQuery(lambda: _reachable_by(Parameter("agent"), Parameter("owner")).filter(**named))


def _reachable_by(agent: Parameter, owner: Parameter) -> QuerySet[User]:
    """An owner that is None is no user."""
    links = AgentLink.objects.filter(agent=agent, user=OuterRef("pk"))
    groups = Group.objects.filter(agents=agent, user=OuterRef("pk"))
    is_reached = ExistsByKey(links.filter(is_linked=True)) | ExistsByKey(groups) | Q(pk=owner)
    return User.objects.filter(is_reached, ~Exists(links.filter(stopped_at__isnull=False)), is_active=True)


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

"""The use cases of agents. The only module that writes an agent's `status`, its links and its secrets."""

from datetime import datetime

from django.db import transaction

from accounts.models import User
from audit import events
from audit.record import About, record, record_revocation
from clients.models import Agent, AgentLink, AgentSecret, SpentAssertion

Status = Agent.Status


def _about(agent: Agent, by: User, person: User | None = None) -> About:
    return About(f"user:{by.id}", client_id=agent.client_id, user_id=person.id if person else None)


@transaction.atomic
def suspend(agent: Agent, by: User, now: datetime) -> bool:
    """From now on the agent cannot authenticate, and nothing granted to it works: liveness asks for its status."""
    if not Agent.objects.filter(pk=agent.pk, status=Status.ACTIVE).update(status=Status.SUSPENDED):
        return False
    record_revocation(events.AGENT_SUSPENDED, _about(agent, by), now)
    return True


@transaction.atomic
def resume(agent: Agent, by: User, now: datetime) -> bool:
    if not Agent.objects.filter(pk=agent.pk, status=Status.SUSPENDED).update(status=Status.ACTIVE):
        return False
    record(events.AGENT_RESUMED, _about(agent, by), now)
    return True


def unregister(agent: Agent, about: About, now: datetime) -> bool:
    """The agent's own end, for good; what hangs on it dies with it. Takes part in the caller's transaction."""
    if not Agent.objects.filter(pk=agent.pk, status=Status.ACTIVE).update(status=Status.UNREGISTERED):
        return False
    record_revocation(events.AGENT_UNREGISTERED, about, now, name=agent.name)
    return True


@transaction.atomic
def link(agent: Agent, person: User, by: User, now: datetime) -> None:
    """An administrator lets the agent ask this person. What the person stopped stays stopped."""
    AgentLink.objects.get_or_create(agent=agent, user=person)
    if AgentLink.objects.filter(agent=agent, user=person, is_linked=False).update(is_linked=True):
        record(events.AGENT_LINKED, _about(agent, by, person), now, agent=agent.name)


@transaction.atomic
def unlink(agent: Agent, person: User, by: User, now: datetime) -> None:
    if AgentLink.objects.filter(agent=agent, user=person, is_linked=True).update(is_linked=False):
        record_revocation(events.AGENT_UNLINKED, _about(agent, by, person), now, agent=agent.name)


def link_by_consent(agent: Agent, person: User, now: datetime) -> bool:
    """The person lets the agent in: it may ask them from now on. False where they had stopped it.

    Takes part in the caller's transaction and keeps the row locked: a stop at the same moment waits, and
    then sees whatever was granted.
    """
    AgentLink.objects.get_or_create(agent=agent, user=person)
    note_first_use(agent, now)
    return bool(AgentLink.objects.filter(agent=agent, user=person, stopped_at=None).update(is_linked=True))


def hold_link(agent: Agent, person: User) -> bool:
    """Locks what is settled between the two, in the caller's transaction. False where the person stopped it."""
    held = AgentLink.objects.select_for_update().filter(agent=agent, user=person, stopped_at=None)
    return held.first() is not None


def stop(agent: Agent, person: User, now: datetime) -> None:
    """The person's own stop. Takes part in the caller's transaction, which ends what hangs on it."""
    AgentLink.objects.update_or_create(agent=agent, user=person, defaults={"stopped_at": now})
    record_revocation(events.AGENT_STOPPED, _about(agent, person, person), now, agent=agent.name)


@transaction.atomic(durable=True)
def allow_again(agent: Agent, person: User, now: datetime) -> bool:
    """The person takes the stop back; what was granted before it stays revoked."""
    if not AgentLink.objects.filter(agent=agent, user=person, stopped_at__isnull=False).update(stopped_at=None):
        return False
    record(events.AGENT_ALLOWED, _about(agent, person, person), now, agent=agent.name)
    return True


@transaction.atomic
def issue_secret(agent: Agent, by: User, now: datetime) -> str:
    """A new client secret, returned once. The one before stays live for the change-over."""
    Agent.objects.select_for_update().get(pk=agent.pk)
    secret = AgentSecret.issue(agent, now)
    record(events.AGENT_SECRET_ISSUED, _about(agent, by), now)
    return secret


@transaction.atomic
def revoke_secrets(agent: Agent, by: User, now: datetime) -> int:
    ended = AgentSecret.objects.filter(agent=agent, revoked_at=None).update(revoked_at=now)
    record_revocation(events.AGENT_SECRETS_REVOKED, _about(agent, by), now, secrets=ended)
    return ended


def note_first_use(agent: Agent, now: datetime) -> bool:
    """An agent that registered itself is in use and stays. False where it was deleted a moment ago."""
    if agent.registration_source == Agent.RegistrationSource.MANUAL or agent.first_used_at is not None:
        return True
    Agent.objects.filter(pk=agent.pk, first_used_at=None).update(first_used_at=now)
    return Agent.objects.filter(pk=agent.pk).exists()


def sweep(now: datetime, batch: int) -> int:
    """Deletes spent assertions that have expired, at most `batch`."""
    due = SpentAssertion.objects.filter(expires_at__lt=now).order_by("expires_at")[:batch]
    gone, _ = SpentAssertion.objects.filter(pk__in=due.values("pk")).delete()
    return gone

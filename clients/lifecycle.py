"""The use cases of agents. The only module that writes an agent's `status`, its links and its secrets."""

from collections.abc import Callable
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F

from accounts.models import User
from audit import events
from audit.record import About, record, record_revocation, record_revocations
from clients.models import Agent, AgentLink, AgentSecret, SpentAssertion

Status = Agent.Status
RESET_REASON = "the agent changed its keys or addresses without proof of its old key"
# What upper packages let an agent hold, each with the function (agent, actor, reason, now) that ends all of it in the
# caller's transaction; requests before grants (lock order). Filled by authserver/wiring.py.
HOLDINGS: list[Callable[[Agent, str, str, datetime], None]] = []


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


def lock_agent(agent: Agent, control_epoch: int) -> bool:
    """Locks the agent's row in the caller's transaction. False where somebody else may control the agent by now."""
    same = Agent.objects.select_for_update(no_key=True).filter(pk=agent.pk, control_epoch=control_epoch)
    return bool(same.values_list("pk"))


def reset(agent: Agent, actor: str, added: list[str], now: datetime) -> None:
    """Somebody else may control the agent: its links, open requests, grants and remembered consents end.

    Takes part in the caller's transaction, which holds the agent's row. Raising the epoch alone makes all of it
    worthless, also what is being written at this moment; the rest is for whoever looks at it.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("a reset takes part in a transaction of its caller")
    Agent.objects.filter(pk=agent.pk).update(control_epoch=F("control_epoch") + 1, identity_changed_at=now)
    agent.control_epoch += 1
    record_revocation(
        events.AGENT_RESET, About(actor, client_id=agent.client_id), now, name=agent.name, added=added
    )  # fmt: skip
    _end_links(agent, actor, now)
    for end_all in HOLDINGS:
        end_all(agent, actor, RESET_REASON, now)


def _end_links(agent: Agent, actor: str, now: datetime) -> None:
    """Before requests and grants, as a person's own stop locks them."""
    links = AgentLink.objects.select_for_update().filter(agent=agent, is_linked=True).order_by("pk")
    people = dict(links.values_list("pk", "user_id"))
    AgentLink.objects.filter(pk__in=people).update(is_linked=False)
    facts = {"agent": agent.name, "reason": RESET_REASON}
    record_revocations(
        events.AGENT_UNLINKED, [(About(actor, agent.client_id, user_id), facts) for user_id in people.values()], now
    )


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

"""Use cases of agents. Only this module writes an agent's `status`, its links and its secrets."""

from collections.abc import Callable, Collection
from datetime import datetime

from django.db import transaction
from django.db.models import F

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record, record_revocation, record_revocations
from clients.models import Agent, AgentLink, AgentSecret, SpentAssertion
from clients.profiles import DEMANDS_VERSION
from foundation.changed_columns import save_changed
from foundation.state_machine import StateMachine
from foundation.transactions import inside_transaction

Status = Agent.Status
AGENT_STATES = StateMachine(
    {Status.ACTIVE: frozenset({Status.SUSPENDED, Status.UNREGISTERED}), Status.SUSPENDED: frozenset({Status.ACTIVE})},
    field="status",
)
RESET_REASON = "the agent changed its keys or addresses without proof of its old key"
# Functions of upper packages that end everything that an agent holds, in the caller's transaction:
# (agent, actor, reason, now). Requests come before grants (lock order). authserver/wiring.py fills
# it.
AGENT_ENDINGS: list[Callable[[Agent, str, str, datetime], None]] = []


def _about(agent: Agent, by: User | str, user: User | None = None) -> About:
    """`by` is an administrator, or the actor of a command."""
    actor = by if isinstance(by, str) else f"user:{by.id}"
    return About(actor, client_id=agent.client_id, user_id=user.id if user else None)


@transaction.atomic
def save_agent(agent: Agent, changed: Collection[str], by: User | str, now: datetime) -> None:
    """Registers an agent, or writes its fields that a form or file changed. The caller sets its many-to-many fields."""
    kind = events.AGENT_REGISTERED if agent._state.adding else events.AGENT_CHANGED
    # Agent.clean may have chosen another algorithm for the profile.
    follows = {"id_token_signed_response_alg"} if "profile" in changed else set()
    save_changed(agent, {*changed, *follows})
    record(kind, _about(agent, by), now, name=agent.name, changed=sorted(changed))


@transaction.atomic
def suspend(agent: Agent, by: User | str, now: datetime) -> bool:
    """Suspends an agent.

    It can no longer authenticate, and its grants stop working, because liveness checks its status.
    """
    if not AGENT_STATES.move(Agent.objects.filter(pk=agent.pk), Status.SUSPENDED):
        return False
    record_revocation(events.AGENT_SUSPENDED, _about(agent, by), now)
    return True


@transaction.atomic
def resume(agent: Agent, by: User | str, now: datetime) -> bool:
    if not AGENT_STATES.move(Agent.objects.filter(pk=agent.pk), Status.ACTIVE):
        return False
    record(events.AGENT_RESUMED, _about(agent, by), now)
    return True


def unregister(agent: Agent, about: About, now: datetime) -> bool:
    """Unregisters the agent for good; everything issued to it stops working. Runs in the caller's transaction."""
    if not AGENT_STATES.move(Agent.objects.filter(pk=agent.pk), Status.UNREGISTERED):
        return False
    record_revocation(events.AGENT_UNREGISTERED, about, now, name=agent.name)
    return True


@transaction.atomic
def link(agent: Agent, user: User, by: User, now: datetime) -> None:
    """Links an agent to a user: an administrator lets the agent ask them. A stop by the user remains in force."""
    AgentLink.objects.get_or_create(agent=agent, user=user)
    if AgentLink.objects.filter(agent=agent, user=user, is_linked=False).update(is_linked=True):
        record(events.AGENT_LINKED, _about(agent, by, user), now, agent=agent.name)


@transaction.atomic
def unlink(agent: Agent, user: User, by: User, now: datetime) -> None:
    if AgentLink.objects.filter(agent=agent, user=user, is_linked=True).update(is_linked=False):
        record_revocation(events.AGENT_UNLINKED, _about(agent, by, user), now, agent=agent.name)


def link_by_consent(agent: Agent, user: User, now: datetime) -> bool:
    """Links the agent to a user who has consented. False if the user had stopped the agent.

    Runs in the caller's transaction and keeps the row locked. So a concurrent stop waits, and then
    sees what was granted.
    """
    AgentLink.objects.get_or_create(agent=agent, user=user)
    note_first_use(agent, now)
    return bool(AgentLink.objects.filter(agent=agent, user=user, stopped_at=None).update(is_linked=True))


def lock_link(agent: Agent, user: User) -> bool:
    """Locks the link of agent and user in the caller's transaction. False if the user has stopped the agent."""
    held = AgentLink.objects.select_for_update().filter(agent=agent, user=user, stopped_at=None)
    return held.first() is not None


def stop(agent: Agent, user: User, now: datetime) -> None:
    """Stops an agent for a user. The caller's transaction also ends the agent's requests and grants for this user."""
    AgentLink.objects.update_or_create(agent=agent, user=user, defaults={"stopped_at": now})
    record_revocation(events.AGENT_STOPPED, _about(agent, user, user), now, agent=agent.name)


@transaction.atomic(durable=True)
def allow_again(agent: Agent, user: User, now: datetime) -> bool:
    """Lifts the user's stop. Everything granted before the stop remains revoked."""
    if not AgentLink.objects.filter(agent=agent, user=user, stopped_at__isnull=False).update(stopped_at=None):
        return False
    record(events.AGENT_ALLOWED, _about(agent, user, user), now, agent=agent.name)
    return True


@transaction.atomic
def issue_secret(agent: Agent, by: User, now: datetime) -> str:
    """Issues a new client secret and returns it, once. The previous one stays valid during the rotation."""
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
    """Locks the agent's row in the caller's transaction. False if its control epoch has changed since."""
    same = Agent.objects.select_for_update(no_key=True).filter(pk=agent.pk, control_epoch=control_epoch)
    return bool(same.values_list("pk"))


def reset(agent: Agent, actor: str, added: list[str], now: datetime) -> None:
    """Ends the agent's links, open requests, grants and remembered consents, because another party may control it now.

    Runs in the caller's transaction, which holds the agent's row. Raising the epoch alone
    invalidates all of them, including those that are being written at this moment. Ending the rows
    as well makes it visible to readers.
    """
    inside_transaction("a reset")
    Agent.objects.filter(pk=agent.pk).update(control_epoch=F("control_epoch") + 1, identity_changed_at=now)
    agent.control_epoch += 1
    record_revocation(
        events.AGENT_RESET, About(actor, client_id=agent.client_id), now, name=agent.name, added=added
    )  # fmt: skip
    _end_links(agent, actor, now)
    for end_all in AGENT_ENDINGS:
        end_all(agent, actor, RESET_REASON, now)


def _end_links(agent: Agent, actor: str, now: datetime) -> None:
    """Ends the links. It runs before requests and grants end: the same lock order as a user's stop."""
    links = AgentLink.objects.select_for_update().filter(agent=agent, is_linked=True).order_by("pk")
    users = dict(links.values_list("pk", "user_id"))
    AgentLink.objects.filter(pk__in=users).update(is_linked=False)
    facts = {"agent": agent.name, "reason": RESET_REASON}
    record_revocations(
        events.AGENT_UNLINKED, [(About(actor, agent.client_id, user_id), facts) for user_id in users.values()], now
    )


@transaction.atomic(durable=True)
def recheck_registrations(now: datetime, batch: int) -> int:
    """Checks the registrations again that were checked by earlier demands of their profile; at most `batch`.

    An agent whose registration does not meet them can no longer ask for anything. Concurrent
    sweepers share the work.
    """
    due = Agent.objects.filter(demands_version__lt=DEMANDS_VERSION).order_by("pk")
    agents = list(due.select_for_update(no_key=True, skip_locked=True)[:batch])
    for agent in agents:
        problem = agent.find_registration_problem()
        Agent.objects.filter(pk=agent.pk).update(registration_problem=problem, demands_version=DEMANDS_VERSION)
        if problem != agent.registration_problem:
            about = About(SYSTEM, client_id=agent.client_id)
            record(events.AGENT_RECHECKED, about, now, name=agent.name, profile=agent.profile, problem=problem or None)
    return len(agents)


def note_first_use(agent: Agent, now: datetime) -> bool:
    """Records the first use of a self-registered agent, so that it is not deleted as unused. False if it is deleted."""
    if agent.registration_source == Agent.RegistrationSource.MANUAL or agent.first_used_at is not None:
        return True
    Agent.objects.filter(pk=agent.pk, first_used_at=None).update(first_used_at=now)
    return Agent.objects.filter(pk=agent.pk).exists()


def sweep(now: datetime, batch: int) -> int:
    """Deletes expired spent assertions, at most `batch`."""
    due = SpentAssertion.objects.filter(expires_at__lt=now).order_by("expires_at")[:batch]
    gone, _ = SpentAssertion.objects.filter(pk__in=due.values("pk")).delete()
    return gone

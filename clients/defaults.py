"""What a self-registered agent may ask for, and whom: the defaults of the settings (REGISTRATION_*)."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection

from clients.models import Agent
from operations.models import IDENTITY_SCOPES, OperationType, Scope

_GIVE = """
WITH given_scopes AS (
  INSERT INTO clients_agent_scopes (agent_id, scope_id)
  SELECT %(agent)s, id FROM operations_scope WHERE name = ANY(%(scopes)s)
), given_types AS (
  INSERT INTO clients_agent_operation_types (agent_id, operationtype_id)
  SELECT %(agent)s, id FROM operations_operationtype WHERE name = ANY(%(types)s)
), links AS (
  INSERT INTO clients_agentlink (agent_id, user_id, is_linked)
  SELECT %(agent)s, id, true FROM accounts_user WHERE email = ANY(%(users)s)
)
SELECT 'scope', name FROM operations_scope WHERE name = ANY(%(scopes)s)
UNION ALL
SELECT 'type', name FROM operations_operationtype WHERE name = ANY(%(types)s)
"""


@dataclass(frozen=True)
class Rights:
    """The names of the scopes and operation types that an agent may ask for, in order."""

    scopes: list[str]
    operation_types: list[str]


def rights_of(agent: Agent) -> Rights:
    scopes, types = (rows.values_list("name", flat=True) for rows in (agent.scopes, agent.operation_types))
    return Rights(sorted(scopes), sorted(types))


def identity_scopes() -> list[str]:
    """Those of the settings, and always openid."""
    return [name for name in IDENTITY_SCOPES if name == "openid" or name in settings.REGISTRATION_SCOPES]


def give(agent: Agent) -> Rights:
    """Gives a new agent the default scopes and operation types, and links it to the default users, in one statement.

    Unlisted ones are denied.
    """
    values: dict[str, Any] = {
        "agent": agent.pk,
        "scopes": list(settings.REGISTRATION_SCOPES),
        "types": list(settings.REGISTRATION_OPERATION_TYPES),
        "users": [email.lower() for email in settings.REGISTRATION_USERS],
    }
    with connection.cursor() as cursor:
        cursor.execute(_GIVE, values)
        found = cursor.fetchall()
    return Rights(*(sorted(name for kind, name in found if kind == wanted) for wanted in ("scope", "type")))


def restore(agent: Agent) -> None:
    """Gives an agent the default scopes and operation types in place of those that it has."""
    agent.identity_scopes = identity_scopes()
    agent.save(update_fields=["identity_scopes"])
    agent.scopes.set(Scope.objects.filter(name__in=settings.REGISTRATION_SCOPES))
    agent.operation_types.set(OperationType.objects.filter(name__in=settings.REGISTRATION_OPERATION_TYPES))

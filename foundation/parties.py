"""Agents and users by what an administrator types. Their keys then find rows of large tables by an index."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Q
from oauth2_provider.models import get_application_model

MAX_FOUND = 10  # agents or users of one search


@dataclass(frozen=True)
class Found:
    rows: list[Any]
    is_cut_off: bool  # more than MAX_FOUND match


def find_agents(text: str) -> Found:
    """The agent with this client_id, otherwise those whose names begin with the text."""
    if not text.isprintable():  # PostgreSQL refuses NUL
        return Found([], False)
    agents = get_application_model().objects.only("pk", "client_id", "name")  # type: ignore[no-untyped-call]
    exact = list(agents.filter(client_id=text))
    return Found(exact, False) if exact else _first(agents.filter(name__istartswith=text).order_by("name", "pk"))


def find_users(text: str) -> Found:
    """The user with this id or e-mail address, otherwise those whose addresses begin with the text."""
    if not text.isprintable():
        return Found([], False)
    users = get_user_model().objects.only("pk", "email")
    key = as_uuid(text)
    exact = list(users.filter(Q(pk=key) if key else Q(email=text.lower())))
    return Found(exact, False) if exact else _first(users.filter(email__startswith=text.lower()).order_by("email"))


def _first(rows: Any) -> Found:
    found = list(rows[: MAX_FOUND + 1])
    return Found(found[:MAX_FOUND], len(found) > MAX_FOUND)


def as_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

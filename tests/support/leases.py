"""A backend and a role on a real PostgreSQL, and an agent that requests leases as a client on the network would."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.utils import timezone
from prometheus_client.metrics_core import GaugeMetricFamily
from psycopg import sql

from accounts.models import User
from audit.record import SYSTEM, About
from ciba import lifecycle as ciba
from ciba.models import Prompt
from clients.models import AgentLink
from credentials.backends import links, roles
from credentials.backends.secrets import sealed
from credentials.leases import issuance, lifecycle, revocation
from credentials.leases.states import ENDING_STATES
from credentials.models import Backend, Lease, Role
from foundation.handles import new_id
from oauth.models import Grant
from operations.models import OperationType, Scope
from operations.risk import Assurance
from tests.patience import PATIENCE
from tests.support.systems import PostgresServer, System
from tests.support.world import Caller

ABOUT = About(SYSTEM)
MEANING = {"title": "Read orders", "summary": "Read the orders database", "risk": "sensitive", "assurance": "session"}


def make_backend(system: System, name: str = "orders", **fields: Any) -> Backend:
    """Enabled and not due for a scan, unless said otherwise."""
    fields = {"status": Backend.Status.ENABLED, "scanned_at": timezone.now() + timedelta(days=1)} | fields
    backend = Backend(name=name, engine=system.engine_name, settings=dict(system.target.settings), **fields)
    backend.sealed_secret = sealed(backend, system.target.secret)
    backend.full_clean()
    backend.save()
    return backend


def make_role(
    backend: Backend, name: str, settings: dict[str, Any], meaning: dict[str, Any] | None = None, **fields: Any
) -> Role:
    role = Role(backend=backend, name=name, settings=settings, **fields)
    role.full_clean(exclude=["operation_type"])
    roles.put(role, {**MEANING, "uses": 1, **(meaning or {})}, ABOUT, timezone.now())
    return role


@dataclass
class Holder:
    """An agent, and the user whom it asks."""

    caller: Caller
    user: User

    def approved_token(self, role: Role, **more: Any) -> str:
        """Asks, is approved, and fetches the token."""
        details = {"type": role.operation_type.name, "purpose": "look at orders", **more}
        sent = self.caller.ask(self.user, authorization_details=[details])
        assert sent.status_code == 200, sent.content
        prompt = Prompt.objects.filter(approver=self.user, answer="").latest("request__created_at")
        answerer = ciba.Approver(self.user, Assurance.SESSION, timezone.now(), "127.0.0.1", "a test")
        ciba.approve(prompt.id, answerer, timezone.now())
        token: str = self.caller.poll(sent.json()["auth_req_id"]).json()["access_token"]
        return token

    def routine_token(self, **parameters: Any) -> str:
        answer = self.caller.client_credentials(**(parameters or {"scope": "leases"}))
        assert answer.status_code == 200, answer.content
        token: str = answer.json()["access_token"]
        return token

    def call(self, method: str, path: str, token: str | None, body: Any = None, **headers: str) -> Any:
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        content = json.dumps(body) if body is not None else ""
        if method == "GET":
            return self.caller.http.get(path, headers=headers)
        return self.caller.http.post(path, content, content_type="application/json", headers=headers)

    def request_lease(self, token: str, role: str = "orders-readonly", key: str | None = None, **more: Any) -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        return self.call("POST", "/v1/leases", token, {"role": role, **more}, **headers)

    def issue_lease(self, role: Role, **more: Any) -> dict[str, Any]:
        """From asking to the account."""
        answer = self.request_lease(self.approved_token(role), role.name, **more)
        assert answer.status_code == 201, answer.content
        issued: dict[str, Any] = answer.json()
        return issued

    def revoke(self, lease_id: str) -> Any:
        return self.call("POST", f"/v1/leases/{lease_id}/revoke", self.routine_token())


def make_grant(holder: Holder, role: Role) -> Grant:
    """As an approval makes it."""
    now = timezone.now()
    return Grant.objects.create(
        id=new_id(), agent=holder.caller.agent, user=holder.user, resource=role.operation_type.resource,
        authorization_details=[{"type": role.operation_type.name, "purpose": "to crash"}], operation_digest="d" * 43,
        uses_left=1, created_at=now, expires_at=now + timedelta(hours=1),
    )  # fmt: skip


def request_lease(grant: Grant, role: Role) -> Any:
    wanted = lifecycle.LeaseRequest(role, grant.id, "to crash", None, None, None, None)
    return issuance.issue_lease(wanted, timezone.now())


def allow_leases(caller: Caller, user: User | None = None) -> Holder:
    caller.agent.scopes.add(Scope.objects.get(name="leases"))
    caller.agent.operation_types.add(*OperationType.objects.filter(name__startswith="credential:"))
    if user:
        AgentLink.objects.get_or_create(agent=caller.agent, user=user, defaults={"is_linked": True})
    return Holder(caller, user or caller.agent.user)


def sweep() -> None:
    """One, and what it started."""
    revocation.sweep(timezone.now(), 100)
    wait_for_sweep()


def wait_for_sweep() -> None:
    for thread in [thread for threads in revocation._threads.values() for thread in threads]:
        thread.join(PATIENCE)


def sweep_until_quiet(max_length: int = 20) -> int:
    """Sweeps until nothing is due any more; how many sweeps it took."""
    for number in range(1, max_length + 1):
        sweep()
        if not Lease.objects.filter(state__in=ENDING_STATES, due_at__lte=timezone.now()).exists():
            return number
    raise AssertionError("leases are still due")


@contextmanager
def audit_closed() -> Iterator[None]:
    """The application may not write audit events meanwhile."""
    application = sql.Identifier(urlsplit(os.environ["DATABASE_URL"]).username or "")
    with psycopg.connect(os.environ["DATABASE_OWNER_URL"], autocommit=True) as owner:
        owner.execute(sql.SQL("REVOKE INSERT ON audit_event FROM {}").format(application))
        try:
            yield
        finally:
            owner.execute(sql.SQL("GRANT INSERT ON audit_event TO {}").format(application))


@pytest.fixture
def orders(postgres_server: PostgresServer, db: None) -> Iterator[Backend]:
    """A backend whose administrator has what the guide asks for, and no more."""
    yield make_backend(postgres_server.system("lease_admin"))
    links.close_all()


@pytest.fixture
def role(orders: Backend) -> Role:
    """Needs an approval; one approval allows one lease."""
    return make_role(orders, "orders-readonly", {"groups": ["orders_reader"]})


@pytest.fixture
def routine_role(orders: Backend) -> Role:
    return make_role(orders, "orders-routine", {"groups": ["orders_reader"]}, {"risk": "routine"})


@pytest.fixture
def holder(agent: Caller, user: User, role: Role, routine_role: Role) -> Holder:
    return allow_leases(agent, user)


def can_log_in(server: PostgresServer, issued: dict[str, Any]) -> bool:
    """`issued`: the answer of POST /v1/leases."""
    try:
        server.connect(issued["credential"]["username"], issued["credential"]["password"]).close()
    except psycopg.OperationalError:
        return False
    return True


def figures_of(families: list[GaugeMetricFamily]) -> dict[tuple[str, ...], float]:
    """By name and labels."""
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}

"""A process of the product that has somebody else's package on its path: it checks a backend, issues and revokes.

`python -m tests.support.third_party` reads {engine, settings, role, purpose, agent, user} from standard input,
and tells what came of it.
"""

import json
import sys
from datetime import timedelta
from typing import Any

import django


def run(job: dict[str, Any]) -> dict[str, Any]:
    from django.test import Client
    from django.utils import timezone

    from accounts.models import User
    from audit.record import SYSTEM, About
    from clients.models import Agent
    from credentials.backends import preflight
    from credentials.backends.secrets import sealed
    from credentials.leases import issuance, lifecycle, revocation
    from credentials.models import Backend, Lease
    from foundation.handles import new_id
    from oauth.models import Grant
    from tests.support.leases import make_role

    now, about = timezone.now(), About(SYSTEM)
    backend = Backend(name="elsewhere", engine=job["engine"], settings=job["settings"])
    backend.sealed_secret = sealed(backend, "none")
    backend.full_clean()
    backend.save()
    report = preflight.check_backend(backend, about, now)
    backend.refresh_from_db()
    role = make_role(backend, "elsewhere-readonly", job["role"])
    of_role = preflight.check_role(role, about, now)
    agent = Agent.objects.get(pk=job["agent"])
    agent.operation_types.add(role.operation_type)
    grant = Grant.objects.create(
        id=new_id(), agent=agent, user=User.objects.get(pk=job["user"]),
        resource=role.operation_type.resource, operation_digest="d" * 43, uses_left=1, created_at=now,
        authorization_details=[{"type": role.operation_type.name}], expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    issued = issuance.issue_lease(lifecycle.LeaseRequest(role, grant.id, job["purpose"], None, None, None, None), now)
    if not isinstance(issued, issuance.IssuedLease):
        return {"preflight": report.first_problem, "refused": str(issued)}
    engine, target = backend.find_engine(), issuance.BackendAddress(backend.settings, "none")
    with engine.log_in(target, issued.lease.account_name, issued.password) as session:
        was_alive = session.is_alive()
        renewed = issuance.renew(issued.lease, 1200, timezone.now())
        lifecycle.end(issued.lease, lifecycle.EndReason.AGENT, "agent:x", timezone.now())
        revocation.revoke_now(issued.lease.id)
        is_alive = session.is_alive()
    return {
        "preflight": report.first_problem or of_role.first_problem,
        "status": backend.status,
        "account": issued.lease.account_name,
        "connection": issued.connection,
        "session": [was_alive, is_alive],
        "renewed": isinstance(renewed, issuance.Life),
        "state": Lease.objects.get().state,
        "live": Client().get("/livez").status_code,
    }


if __name__ == "__main__":
    django.setup()
    print(json.dumps(run(json.load(sys.stdin))))  # noqa: T201

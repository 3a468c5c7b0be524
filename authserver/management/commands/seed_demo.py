"""`manage.py seed_demo`: a user, an administrator, two agents, and an API with its scopes and
operation types.

It runs at each start of the demo, creates missing objects and leaves existing ones unchanged.
Resources, scopes, operation types and the credential role are in authserver/demo.yaml.
"""

import json
import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone
from joserfc.jwk import ECKey, OKPKey

from accounts.models import User
from audit import events
from audit.record import SYSTEM, About, record
from authserver import demo, variables
from clients import lifecycle as agents
from clients.models import CIBA, CLIENT_CREDENTIALS, Agent
from credentials.backends import preflight
from credentials.backends.secrets import LEASES_SCOPE as LEASES
from credentials.backends.secrets import own_resource, sealed
from credentials.models import Backend, Role
from foundation.handles import new_handle, same
from operations.lifecycle import issue_resource_secret
from operations.models import OperationType, Resource, ResourceSecret, Scope
from runtime.processes import write_private

ABOUT = About(SYSTEM)


class Command(BaseCommand):
    help = "Seeds the demo (make run does this)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("The demo is seeded only by `make run`, which sets DEMO=1.")
        folder = settings.DATA_DIR / "demo"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        seed(folder, timezone.now(), self.stdout.write)


def seed(folder: Path, now: datetime, write_line: Any) -> None:
    api_url = f"http://localhost:{os.environ.get(variables.DEMO_API_PORT.name) or settings.PORT + 1}"
    assistant = _make_world(folder, api_url, now, write_line)
    if (folder / "backend.json").exists():
        _make_backend(json.loads((folder / "backend.json").read_text()), assistant, now, write_line)


@transaction.atomic
def _make_world(folder: Path, api_url: str, now: datetime, write_line: Any) -> Agent:
    """Creates all objects in one transaction, so that an interrupted start leaves no agent without
    its rights.
    """
    is_first_start = not User.objects.exists()
    user = _make_user(demo.USER, write_line, is_superuser=False)
    administrator = _make_user(demo.ADMINISTRATOR, write_line, is_superuser=True)
    if not (is_first_start or os.environ.get("DEMO_PASSWORD")):
        write_line(
            f"Sign in as {user.email} or {administrator.email} with the passwords that the first start printed. "
            "To set a new one for both: DEMO_PASSWORD='a new password' make run"
        )
    resource, is_new = _make_resource(f"{api_url}/", now)
    _make_api_file(folder, resource, now)
    make_agent = partial(_make_agent, folder, api_url=api_url, owner=administrator, now=now)
    assistant, made = make_agent("Assistant", "ES256", [CIBA, CLIENT_CREDENTIALS])
    if made or is_new:
        assistant.scopes.set(Scope.objects.filter(resource=resource))
        assistant.operation_types.set(OperationType.objects.filter(resource=resource))
    if made:
        agents.link(assistant, user, administrator, now)
    reporter, made = make_agent("Night Reporter", "EdDSA", [CLIENT_CREDENTIALS])
    if made or is_new:
        reporter.scopes.set(Scope.objects.filter(resource=resource, risk="routine"))
        reporter.operation_types.set(OperationType.objects.filter(resource=resource, current__risk="routine"))
    return assistant


def _make_user(fields: dict[str, str], write_line: Any, *, is_superuser: bool) -> User:
    given = os.environ.get(variables.DEMO_PASSWORD.name)
    user = User.objects.filter(email=fields["email"]).first()
    if user is None:
        password = given or new_handle()[:16]
        make = User.objects.create_superuser if is_superuser else User.objects.create_user
        user = make(fields["email"], password, name=fields["name"])
        content = "the password of DEMO_PASSWORD" if given else f"the password {password} (shown only now)"
        write_line(f"Sign in as {user.email} with {content}")
    elif given and not user.check_password(given):
        user.set_password(given)
        user.save(update_fields=["password"])
        write_line(f"Sign in as {user.email} with the password of DEMO_PASSWORD")
    return user


def _make_resource(identifier: str, now: datetime) -> tuple[Resource, bool]:
    """The API with its scopes and operation types, and whether it was created now."""
    if resource := Resource.objects.filter(identifier=identifier).first():
        return resource, False
    content = demo.configuration()
    _apply({"resources": [content["resources"][0] | {"identifier": identifier}]}, now)
    resource = Resource.objects.get(identifier=identifier)
    # Scope and type names are unique. If DEMO_API_PORT has changed, they move to the new resource.
    Scope.objects.filter(name__in=demo.names("scopes")).update(resource=resource)
    OperationType.objects.filter(name__in=demo.names("operation_types")).update(resource=resource)
    sections = ("scopes", "operation_types")
    _apply({name: [one | {"resource": identifier} for one in content[name]] for name in sections}, now)
    return resource, True


def _apply(sections: dict[str, Any], now: datetime) -> None:
    """Applies a part of demo.yaml in the caller's transaction."""
    # Imported late: only a first start applies the file.
    from authserver.configuration import lifecycle
    from authserver.configuration.document import read_document
    from authserver.configuration.section import Confirmations
    from authserver.configuration.yaml_format import dump

    document, confirmed = read_document(dump({"version": 1, **sections}).encode()), Confirmations()
    plan = lifecycle.find_plan(document, confirmed, prune=False)
    lifecycle.apply_in_transaction(document, plan, confirmed, About("config:demo.yaml"), now, prune=False)


def _make_api_file(folder: Path, resource: Resource, now: datetime) -> None:
    """Writes the demo API's configuration: our address, its id, and its credential."""
    path = folder / "api.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if known.get("resource_id") == str(resource.id) and ResourceSecret.find(known["secret"], resource):
        known["issuer"] = settings.ISSUER_URL
    else:
        known = {
            "issuer": settings.ISSUER_URL,
            "resource": resource.identifier,
            "resource_id": str(resource.id),
            "secret": issue_resource_secret(resource, ABOUT, now),
        }
    write_private(path, json.dumps(known, indent=2))


def _make_backend(known: dict[str, Any], assistant: Agent, now: datetime, write_line: Any) -> None:
    """Updates the backend: the embedded PostgreSQL has another port, and its administrator account
    another secret, at each start.
    """
    backend = Backend.objects.filter(name=demo.BACKEND).first() or Backend(name=demo.BACKEND, engine="postgres")
    backend.settings = known["settings"]
    backend.sealed_secret = sealed(backend, known["secret"])
    backend.sealed_next_secret = backend.rotating_since = None
    backend.full_clean()
    backend.save()
    names = demo.names("credential_roles")
    if not Role.objects.filter(name__in=names).exists():
        with transaction.atomic():
            _apply({"credential_roles": demo.configuration()["credential_roles"]}, now)
            assistant.scopes.add(Scope.objects.get(name=LEASES))
            assistant.operation_types.add(*OperationType.objects.filter(credential_role__name__in=names))
    if backend.status == Backend.Status.NEW:
        report = preflight.check_backend(backend, ABOUT, now)
        if not report.passed:
            write_line(f"The demo's backend issues no leases: {report.first_problem}")
    own_resource()  # updates its identifier from ISSUER_URL


def _make_agent(
    folder: Path, name: str, algorithm: str, grant_types: list[str], *, api_url: str, owner: User, now: datetime
) -> tuple[Agent, bool]:
    """An agent whose private key is in a file that only its owner can read, and whether it was
    created now.

    If the file is lost, the agent gets a new key.
    """
    path = folder / f"{name.lower().replace(' ', '-')}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    agent, made = Agent.objects.get_or_create(name=name, user=owner, defaults={"grant_types": grant_types})
    key = known.get("key") or _new_key(algorithm)
    public = {member: value for member, value in key.items() if member != "d"}
    if made or not _has_demo(agent, public):
        agent.client_jwks = {"keys": [public]}
        agent.full_clean()
        agent.save()
        kind = events.AGENT_REGISTERED if made else events.AGENT_CHANGED
        record(kind, About(SYSTEM, client_id=agent.client_id), now, name=name, changed=["client_jwks"])
    file = {"issuer": settings.ISSUER_URL, "client_id": agent.client_id, "api": api_url, "user": demo.USER["email"]}
    write_private(path, json.dumps(file | {"algorithm": algorithm, "key": key}, indent=2))
    return agent, made


def _new_key(algorithm: str) -> dict[str, Any]:
    key = ECKey.generate_key("P-256", auto_kid=True) if algorithm == "ES256" else OKPKey.generate_key(auto_kid=True)
    return dict(key.as_dict(private=True))


def _has_demo(agent: Agent, public: dict[str, Any]) -> bool:
    registered = (agent.client_jwks or {}).get("keys", [])
    return any(
        same(json.dumps(one, sort_keys=True).encode(), json.dumps(public, sort_keys=True).encode())
        for one in registered
    )

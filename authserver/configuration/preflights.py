"""The preflights of backends and roles that a file changed, as after a change in the administration.

They run after the commit, because they call the backends.
"""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Q

from audit.record import About
from authserver.configuration.differences import Action
from authserver.configuration.document import Document
from authserver.configuration.lifecycle import Plan
from credentials.backends import preflight
from credentials.backends.states import BackendStatus
from credentials.models import Backend, Role

_OF_BACKEND = frozenset({"settings", "secret", "engine", "is_draining"})
_OF_ROLE = frozenset({"settings", "is_active", "backend"})


def run_preflights(document: Document, plan: Plan, about: About, now: datetime) -> Iterator[tuple[str, str]]:
    """Runs them one by one. Yields the name of each backend or role, and its problem; no problem: an empty text.

    A backend of the file that no preflight has tested yet is tested too: an earlier run may have
    been killed after its commit.
    """
    names = _changed(plan, "backends", _OF_BACKEND)
    untested = Q(name__in=document.objects.get("backends", {}), preflight_at=None)
    backends = Backend.objects.filter(Q(name__in=names) | untested, status=BackendStatus.NEW)
    tested = set()
    for backend in backends:
        report = preflight.check_backend(backend, about, now)
        yield f"backend {backend}", "" if report.passed else report.first_problem
        yield from ((f"credential role {name}", problem) for name, problem in report.deactivated.items())
        tested.add(backend.pk)
    roles = Role.objects.filter(name__in=_changed(plan, "credential_roles", _OF_ROLE), is_active=True)
    for role in roles.exclude(backend__in=tested):
        report = preflight.check_role(role, about, now)
        yield f"credential role {role}", "" if report.passed else report.first_problem


def _changed(plan: Plan, section: str, fields: frozenset[str]) -> list[str]:
    """The keys of the objects of one section that were added, or changed in one of the fields."""
    changes = [one for one in plan.writes if one.section == section and one.action is not Action.RETIRE]
    return [one.key for one in changes if not fields.isdisjoint(one.changed)]

"""The preflight: before a backend may issue, a probe account is made, used and revoked with the
administrator's own rights.

An account that could not be revoked must never be issued, and the administrator learns that when
saving the backend. An account without rights proves little: whether sessions are ended shows only
if there is a session. So the preflight makes one probe with the settings of each active role.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from audit import events
from audit.record import About, record
from credentials.backends import breaker, connection_rungs, lifecycle
from credentials.backends.secrets import target_of
from credentials.engines import (
    BackendAddress,
    BackendUnreachable,
    DatabaseAccount,
    Engine,
    EngineError,
    Link,
    Session,
    SessionTrace,
    find_can_leave_behind,
    find_grantable,
    find_left_behind,
)
from credentials.models import Backend, Role
from foundation.handles import new_handle, random_bytes
from foundation.keyring import KeyringError

MAX_GRANTABLE = 50  # names that a form offers
PROBE_LIFETIME = timedelta(minutes=5)


def first_problem(steps: list[dict[str, Any]]) -> str:
    return next((f"{step['step']}: {step['problem']}" for step in steps if not step["ok"]), "")


@dataclass
class Report:
    """The steps of a preflight, in order.

    `excess` is what our administrator may do on the backend without need.

    `left_behind`: objects that exist now and may come from an account. `can_leave_behind`: objects
    that accounts could leave, and what to revoke against it. `used`: roles whose probe account was
    made, used and revoked. `deactivated`: roles that were deactivated, and why. `is_unreachable`: the
    backend or our login failed, which says nothing about a role. `failed_at`: the rung of connection_rungs.py.
    `grantable`: the names that the settings of a role may use.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    excess: list[str] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    can_leave_behind: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    deactivated: dict[str, str] = field(default_factory=dict)
    is_unreachable: bool = False
    failed_at: str = ""
    grantable: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.steps) and all(step["ok"] for step in self.steps)

    @property
    def answered(self) -> bool:
        """The backend let our administrator in and has stayed reachable."""
        return bool(self.steps) and self.steps[0]["ok"] and not self.is_unreachable

    @property
    def first_problem(self) -> str:
        return first_problem(self.steps)

    @property
    def failure(self) -> str:
        """The failed step as a sentence."""
        failed = next((step for step in self.steps if not step["ok"]), None)
        return f"The step “{failed['step']}” failed: {failed['problem']}" if failed else ""

    def take_over(self, other: "Report") -> None:
        """Adds the findings of a role's probe, each once."""
        self.left_behind = list(dict.fromkeys([*self.left_behind, *other.left_behind]))
        self.can_leave_behind = list(dict.fromkeys([*self.can_leave_behind, *other.can_leave_behind]))

    def note(self, step: str, problem: str = "") -> None:
        self.steps.append({"step": step, "ok": not problem, "problem": problem[:300]})

    def note_error(self, step: str, error: EngineError) -> None:
        self.note(step, str(error))
        self.failed_at = self.failed_at or "rights"
        self.is_unreachable |= isinstance(error, BackendUnreachable)


def probe(engine: Engine, target: BackendAddress, prefix: str, settings: Mapping[str, Any], now: datetime) -> Report:
    """Makes, uses and revokes a probe account.

    With a role's settings it logs in as the account; without any it only makes and revokes it.
    """
    report = Report()
    try:
        link = engine.connect(target)
    except EngineError as error:
        report.note("log in as the administrator", str(error))
        report.failed_at = connection_rungs.failed_at(error)
        report.is_unreachable = True  # every role shares this login, whatever the error
        return report
    report.note("log in as the administrator")
    try:
        account = _account(prefix, settings, now)
        _probe(engine, target, link, account, report)
        report.excess = link.excess_rights()
        report.grantable = find_grantable(link)[:MAX_GRANTABLE]
        _look_for_remains(link, account, report)
    except EngineError as error:
        report.note_error("read rights and leftovers", error)
    finally:
        link.close()
    return report


def _look_for_remains(link: Link, account: DatabaseAccount, report: Report) -> None:
    """Findings for the administrator. They do not stop the backend from issuing: an object may be in a database that
    our administrator account may not enter.
    """
    try:
        report.left_behind = find_left_behind(link, account)
        report.can_leave_behind = find_can_leave_behind(link, account)
    except EngineError as error:
        report.can_leave_behind = [f"Countersign cannot read what accounts leave behind: {error}"]


def _account(prefix: str, settings: Mapping[str, Any], now: datetime) -> DatabaseAccount:
    return DatabaseAccount(
        f"{prefix}probe{random_bytes(5).hex()}", settings, now + PROBE_LIFETIME, SessionTrace("probe", "", "", "")
    )


def _probe(engine: Engine, target: BackendAddress, link: Link, account: DatabaseAccount, report: Report) -> None:
    password = new_handle()
    with ExitStack() as stack:
        made = _try(report, "create an account", lambda: link.create(account, password))
        session: Session | None = None

        def log_in() -> None:
            nonlocal session
            session = stack.enter_context(engine.log_in(target, account.name, password))

        if made and account.settings:
            _try(report, "log in with it", log_in)
        if not engine.is_revocable:
            report.note("accounts cannot be revoked: they expire within 15 minutes")
            return
        # Also if the creation failed half-way.
        revoked = _try(report, "revoke it", lambda: link.revoke(account))
        if session is not None:
            report.note("its session has ended", "the session is still open" if session.is_alive() else "")
        if revoked:
            presence = link.verify(account.name)
            report.note("a read confirms that it is gone", "" if presence.is_gone else "the account still exists")


def _try(report: Report, step: str, act: Any) -> bool:
    try:
        act()
    except EngineError as error:
        report.note_error(step, error)
        return False
    report.note(step)
    return True


def check_backend(backend: Backend, about: About, now: datetime) -> Report:
    """Enables the backend if the preflight passes; otherwise the backend issues nothing.

    If only some roles fail, those are deactivated. If every role fails, or the backend becomes
    unreachable meanwhile, the roles stay as they are and the backend issues nothing: the cause is
    then the administrator account or the backend.
    """
    backend = Backend.objects.get(pk=backend.pk)
    report = _probed(backend, {}, now)
    deactivated: list[Role] = []
    if report.passed:
        deactivated = _probe_roles(list(backend.roles.filter(is_active=True)), backend, report)
    _record(backend, report, deactivated, about, timezone.now())
    return report


def _probed(backend: Backend, settings: Mapping[str, Any], now: datetime) -> Report:
    # Prevents an orphan scan meanwhile, which would find the probe account.
    Backend.objects.filter(pk=backend.pk).update(scanned_at=now)
    try:
        return probe(backend.find_engine(), target_of(backend), backend.prefix, settings, now)
    except (EngineError, KeyringError) as error:
        report = Report(is_unreachable=True)
        report.note("find an engine and the secret", str(error))
        return report


def _probe_roles(roles: list[Role], backend: Backend, report: Report) -> list[Role]:
    """Probes the roles. Returns those to deactivate."""
    problems: dict[Role, str] = {}
    for role in roles:
        of_role = _probed(backend, role.settings, timezone.now())
        report.take_over(of_role)
        if of_role.passed:
            report.used.append(role.name)
            report.note(f"role {role.name}: " + ", ".join(step["step"] for step in of_role.steps[1:]))
        elif of_role.is_unreachable:
            report.is_unreachable = True
            report.note(f"role {role.name}", of_role.first_problem)
            return []
        else:
            problems[role] = of_role.first_problem
    if report.used:
        report.deactivated = {role.name: problem for role, problem in problems.items()}
        return list(problems)
    for role, problem in problems.items():
        report.note(f"role {role.name}", problem)
    return []


@transaction.atomic(durable=True)
def _record(probed: Backend, report: Report, deactivated: list[Role], about: About, now: datetime) -> None:
    backend = Backend.objects.select_for_update().get(pk=probed.pk)
    if _way_in(backend) == _way_in(probed):
        _note_answered(backend, report)
        lifecycle.deactivate_roles(deactivated)
    else:
        report.note("compare the settings", "the settings or the secret changed meanwhile: run the preflight again")
        report.deactivated = {}
    backend.preflight, backend.preflight_at = asdict(report), now
    backend.left_behind = report.left_behind  # known from now on: the administrator sees it
    backend.save(update_fields=["preflight", "preflight_at", "left_behind"])
    lifecycle.settle_preflight(backend, passed=report.passed)
    record(events.BACKEND_CHECKED, about, now, backend=backend.name, passed=report.passed, used=report.used,
           problem=report.first_problem, excess=report.excess, left_behind=report.left_behind,
           can_leave_behind=report.can_leave_behind, deactivated=report.deactivated)  # fmt: skip


def _note_answered(backend: Backend, report: Report) -> None:
    """Closes the breaker if our login works again, whatever else fails, so that requests need not
    wait for the next probe.
    """
    if report.answered:
        breaker.note_reached(backend)


def _way_in(backend: Backend) -> tuple[Any, ...]:
    """The settings that the preflight used, which an administrator may have changed since."""
    return backend.engine, backend.settings, bytes(backend.sealed_secret)


def check_role(role: Role, about: About, now: datetime) -> Report:
    """Probes a role that was just saved, and deactivates it if the probe fails.

    It is also deactivated if the backend did not answer: whether the saved settings work is then
    unknown, whatever the role issued before. Saving it as active again runs another probe.
    """
    backend = Backend.objects.get(pk=role.backend_id)
    report = _probed(backend, role.settings, now)
    if report.passed:
        report.used = [role.name]
    with transaction.atomic(durable=True):
        now_there = Backend.objects.select_for_update().get(pk=backend.pk)
        known = list(dict.fromkeys([*now_there.left_behind, *report.left_behind]))
        Backend.objects.filter(pk=backend.pk).update(left_behind=known)
        if _way_in(now_there) == _way_in(backend):
            _note_answered(now_there, report)
        if not report.passed:
            lifecycle.deactivate_roles([role])
        record(events.BACKEND_CHECKED, about, timezone.now(), backend=backend.name, role=role.name,
               passed=report.passed, problem=report.first_problem)  # fmt: skip
    return report

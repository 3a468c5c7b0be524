"""Use cases: find the difference between a file and the database, and apply it in one transaction.

`find_plan` changes nothing. `apply` locks the rows that change, finds the difference again, and
writes only if it is the one that the caller showed. Each object is checked like a form of the
administration and saved by the use case that the administration calls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from audit.record import About
from authserver.configuration.differences import WRITES, Action, Change, FieldChange, compare
from authserver.configuration.document import Document
from authserver.configuration.problems import Problem, WrongFile
from authserver.configuration.section import SECRET, Audit, Confirmations, Context, Section
from authserver.configuration.sections import SECTIONS
from credentials.backends.roles import type_name
from credentials.backends.secrets import LEASES_SCOPE, target_of
from credentials.models import Backend
from foundation.handles import same
from foundation.transactions import inside_transaction

UNIQUE_VIOLATION = "23505"  # the SQLSTATE


class ChangedMeanwhile(Exception):
    """Somebody changed the configuration after the difference was shown. Nothing was applied."""


@dataclass(frozen=True)
class Plan:
    changes: tuple[Change, ...]

    @property
    def writes(self) -> tuple[Change, ...]:
        return tuple(one for one in self.changes if one.action in WRITES)


@dataclass(frozen=True)
class _FileRows:
    """Finds rows that an object refers to. In a check, those that the file adds are built and not saved."""

    document: Document

    def find(self, section: str, key: str) -> Any:
        found = SECTIONS[section]
        row = found.model._default_manager.filter(**{found.key: key}).first()
        values = self.document.find(section, key)
        return row or (found.build(values, values, self) if values else None)


def find_plan(document: Document, confirmed: Confirmations, *, prune: bool) -> Plan:
    """The difference. Raises WrongFile with every problem of the objects that would change."""
    plan = _compare_all(document, confirmed, prune=prune)
    problems = list(_find_problems(document, plan, confirmed))
    if problems:
        raise WrongFile(problems)
    return plan


def find_new_keys(document: Document, section: str) -> set[str]:
    """The keys of the objects of one section that the file would add."""
    return document.objects.get(section, {}).keys() - SECTIONS[section].read_stored().keys()


@transaction.atomic(durable=True)
def apply(
    document: Document, expected: Plan, confirmed: Confirmations, about: About, now: datetime, *, prune: bool
) -> None:
    """Raises ChangedMeanwhile or WrongFile, and then nothing is written."""
    apply_in_transaction(document, expected, confirmed, about, now, prune=prune)


def apply_in_transaction(
    document: Document, expected: Plan, confirmed: Confirmations, about: About, now: datetime, *, prune: bool
) -> None:
    """Like `apply`, in the caller's transaction, which an exception must roll back."""
    inside_transaction("applying a configuration file")
    for name, section in SECTIONS.items():
        if keys := [one.key for one in expected.writes if one.section == name]:
            section.lock(keys)
    if _compare_all(document, confirmed, prune=prune).writes != expected.writes:
        raise ChangedMeanwhile
    context, audit = Context(_FileRows(document), confirmed), Audit(about, now)
    try:
        for change in expected.writes:
            _save(document, change, context, audit)
    except IntegrityError as error:
        if getattr(error.__cause__, "sqlstate", "") == UNIQUE_VIOLATION:  # another transaction inserted the same key
            raise ChangedMeanwhile from error
        raise


def _compare_all(document: Document, confirmed: Confirmations, *, prune: bool) -> Plan:
    changes: list[Change] = []
    for name, section in SECTIONS.items():
        wanted = document.objects.get(name)
        if wanted is not None:
            changes += compare(name, wanted, section.read_stored(), section.retired, prune=prune)
    return Plan(tuple(_with_new_secret(one, confirmed.secrets) for one in changes))


def _with_new_secret(change: Change, secrets: Mapping[str, str]) -> Change:
    """The change with the secret of a backend, if it is another one than the stored."""
    known = change.section == "backends" and change.action in (Action.CHANGE, Action.KEEP) and change.key in secrets
    if not known:
        return change
    backend = Backend.objects.get(name=change.key)
    if same(target_of(backend).secret.encode(), secrets[change.key].encode()):
        return change
    # The old value is not the secret, but changes with it: a rotation meanwhile is another difference.
    new = FieldChange(SECRET, str(backend.secret_changed_at), change.values[SECRET])
    return Change(change.section, change.key, Action.CHANGE, change.values, (*change.fields, new))


def _find_problems(document: Document, plan: Plan, confirmed: Confirmations) -> Iterator[Problem]:
    referred = {one.refers_to for section in SECTIONS.values() for one in section.fields if one.refers_to}
    known = {name: SECTIONS[name].referable_keys() | set(document.objects.get(name, {})) for name in referred}
    if roles := document.objects.get("credential_roles"):  # Countersign writes these with the role
        known["operation_types"] |= set(map(type_name, roles))
        known["scopes"].add(LEASES_SCOPE)
    context = Context(_FileRows(document), confirmed)
    for change in plan.writes:
        if change.action is not Action.RETIRE:
            problems = list(_find_wrong_references(document, change, known))
            yield from problems or _find_object_problems(document, change, context)


def _find_wrong_references(document: Document, change: Change, known: Mapping[str, set[str]]) -> Iterator[Problem]:
    for one in SECTIONS[change.section].fields:
        if not one.refers_to:
            continue
        value = change.values[one.name]
        for key in [value] if isinstance(value, str) else value:
            if key not in known[one.refers_to]:
                noun = SECTIONS[one.refers_to].noun
                yield document.problem(change.section, change.key, (one.name,), f"there is no {noun} {key!r}")


def _find_object_problems(document: Document, change: Change, context: Context) -> Iterator[Problem]:
    section = SECTIONS[change.section]
    if change.action is Action.CHANGE and (fixed := _find_fixed(section, change)):
        for name in fixed:
            text = f"cannot change: add a {section.noun} with another {section.key} instead"
            yield document.problem(change.section, change.key, (name,), text)
        return
    found = section.find_problems(change.values, change.changed, context)
    for below, text in found:
        yield document.problem(change.section, change.key, below, text)


def _find_fixed(section: Section, change: Change) -> list[str]:
    return [one.name for one in section.fields if one.is_fixed and one.name in change.changed]


def _save(document: Document, change: Change, context: Context, audit: Audit) -> None:
    section = SECTIONS[change.section]
    if change.action is not Action.RETIRE and (problems := list(_find_object_problems(document, change, context))):
        raise WrongFile(problems)
    try:
        section.save(change.values, change.changed, context, audit)
    except ValidationError as error:
        problems = [document.problem(change.section, change.key, *one) for one in section.findings(error)]
        raise WrongFile(problems) from error

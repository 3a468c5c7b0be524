"""`manage.py migrate`: the application's rights, and no more."""

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from authserver.management.commands import migrate


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("table", "rights"),
    [
        ("audit_event", {"SELECT", "INSERT"}),
        ("audit_setasideevent", {"SELECT", "INSERT", "UPDATE", "DELETE"}),
        ("accounts_user", {"SELECT", "INSERT", "UPDATE", "DELETE"}),
        ("django_migrations", {"SELECT"}),
    ],
)
def test_the_application_has_these_rights(table: str, rights: set[str]) -> None:
    sent = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT r FROM unnest(%s::text[]) r WHERE has_table_privilege(%s, r)", [sent, table])
        assert {right for (right,) in cursor.fetchall()} == rights


@pytest.mark.parametrize("option", ["plan", "check_unapplied"])
def test_looking_changes_no_rights(
    monkeypatch: pytest.MonkeyPatch, django_db_setup: None, django_db_blocker: pytest.FixtureRequest, option: str
) -> None:
    def fail(role: str) -> None:
        pytest.fail("rights were changed")

    monkeypatch.setattr(migrate, "grant_rights", fail)
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        call_command("migrate", verbosity=0, **{option: True})


def test_production_refuses_one_role_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES, "owner", dict(settings.DATABASES["default"]))
    with pytest.raises(CommandError, match="must not be the application's role"):
        migrate.check_roles()
    monkeypatch.delitem(settings.DATABASES, "owner")
    with pytest.raises(CommandError, match="DATABASE_OWNER_URL must be set"):
        migrate.check_roles()

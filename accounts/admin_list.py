"""The list of users in the administration: in the order of their e-mail addresses, searched by an index, exported."""

from typing import ClassVar

from django.db.models import Q
from django.http import HttpRequest

from audit.exports import ExportingList
from foundation import parties


class UserList(ExportingList):
    search_help_text = "The beginning of an e-mail address or of a full name; or an exact id or phone number."
    ordering = ("email",)
    previous_label, next_label = "Previous", "Next"
    exported_columns: ClassVar[dict[str, str]] = {
        "id": "id", "email": "email", "name": "name", "phone": "phone", "is_active": "is_active",
        "is_staff": "is_staff", "is_superuser": "is_superuser", "created_at": "created_at", "last_login": "last_login",
    }  # fmt: skip

    def find(self, request: HttpRequest, term: str) -> list[Q]:
        key = parties.as_uuid(term)
        wanted = [Q(email__startswith=term.lower()), Q(name__istartswith=term), Q(phone=term)]
        return [*wanted, Q(pk=key)] if key else wanted

"""The list of users in the administration: in the order of their e-mail addresses, searched by an index, exported."""

from typing import ClassVar

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User
from audit.exports import ExportingList
from foundation import parties

MAX_NAMED = 200  # users of one search by name


class UserList(ExportingList):
    search_help_text = "The beginning of an e-mail address or of a full name; or an exact id or phone number."
    ordering = ("email",)
    previous_label, next_label = "Previous", "Next"
    exported_columns: ClassVar[dict[str, str]] = {
        "id": "id", "email": "email", "name": "name", "phone": "phone", "is_active": "is_active",
        "is_staff": "is_staff", "is_superuser": "is_superuser", "created_at": "created_at", "last_login": "last_login",
    }  # fmt: skip

    def find(self, request: HttpRequest, term: str) -> list[Q]:
        """Names become keys first: PostgreSQL would otherwise read the users in the order of their addresses until
        enough names match, and names that begin alike often have addresses that begin alike, at the far end.
        """
        named = list(User.objects.filter(name__istartswith=term).values_list("pk", flat=True)[: MAX_NAMED + 1])
        if len(named) > MAX_NAMED:
            text = f"More than {MAX_NAMED} names begin like this, and the list shows {MAX_NAMED} of them."
            self.message_user(request, f"{text} Enter more of the name.", messages.WARNING)
        wanted = [Q(email__startswith=term.lower()), Q(phone=term), Q(pk__in=named[:MAX_NAMED])]
        key = parties.as_uuid(term)
        return [*wanted, Q(pk=key)] if key else wanted

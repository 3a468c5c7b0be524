"""Random requests to the administration: every page, form, action, filter and query parameter, from the registry.

A model that is registered later is tried without anybody's doing; a row of it must be made here.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts import lifecycle as accounts
from accounts.models import User
from audit.models import SetAsideEvent
from ciba.models import HINT_ALGORITHMS, BackchannelRequest, HintIssuer
from clients import registration
from clients.models import InitialAccessToken
from credentials.backends.secrets import sealed
from credentials.models import Backend, Lease, Recovery
from devices.models import Device, VapidKey
from foundation.admin import ReadOnly
from foundation.handles import new_id
from foundation.models import Work
from oauth.models import Grant
from operations.models import OperationType
from tests.support.leases import make_role
from tests.support.world import PAYMENT, Caller, make_user

# Nobody listens there, so that nothing is waited for.
NOWHERE = {"host": "127.0.0.1", "port": 1, "database": "orders", "user": "countersign"}

HOSTILE = [
    "", " ", "0", "-1", "-0", "1", "1.5", "1e999", "NaN", "Infinity", "2147483648", "999999999", "9" * 20, "9" * 5000,
    "0x10", "1_000", "\u0663", "true", "null", "on", "{}", "[]", '"x"', "[0]", '{"keys": 0}', '{"keys": [{}]}',
    "\x00", "a\x00b", "%00", '"\\u0000"', '{"a": "\\ud800"}', '"\\ud800"', '{"keys": ["\\udfff"]}', '{"\\u0000": 1}',
    "[" * 20, "[" * 5000, '{"a":' * 5000, "[1e400]", "[NaN]", '{"a": ' + "9" * 5000 + "}", '{"a": 1, "a": 2}',
    "http://[::1", "https://[", "http://[v1.x]/", "https://a:99999999/", "https://a:x/", "//", "http://\u2100.example/",
    "javascript:x", "https://user@a.example/", "urn:x", "a b", "\u0496n", "%D4%96n", "%", "%ff", "+", "a@b", "@", "a@[",
    "0000-01-01", "0001-01-01", "9999-12-31", "9999-12-31 23:59:59", "10000-01-01", "2026-02-30", "24:00", "23:59:60",
    "x" * 300, "x" * 10_000, "\u202e", "\ufffe", "\U0001f600", "a\r\nb", "'", '"', "<b>", "\\", "{", "{x|money}", "{0}",
    "(", "(a)\\1", "00000000-0000-4000-8000-000000000000", "7", "__all__", "-pk", "pk", "id", "password",
    '{"type": "object", "properties": {"a": {"pattern": "("}}}', '{"type": "object", "properties": 0}',
    '{"type": "object", "additionalProperties": false, "properties": {"a": {"$ref": "#/$defs/a"}}}',
]  # fmt: skip
ENCODINGS = ["latin-1", "utf-16", "utf-7", "idna", "punycode", "hex", "rot13", "undefined", "unicode_escape", "x", ""]
LOOKUPS = [
    "", "__exact", "__iexact", "__in", "__gt", "__gte", "__lt", "__lte", "__isnull", "__regex", "__contains", "__year",
    "__month", "__day", "__range", "__id", "__id__exact", "__pk", "__x",
]  # fmt: skip
PLAIN_PARAMETERS = [
    "q", "o", "p", "all", "e", "_popup", "_to_field", "_changelist_filters", "_facets", "term", "app_label",
    "model_name", "field_name", "next", "family", "kind", "id", "pk",
]  # fmt: skip


@dataclass
class Administration:
    """Every registered model with a row of it, and who is signed in: a superuser, and one who may only look."""

    user: User
    rows: dict[type[Model], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for model in admin.site._registry:
            row = model._default_manager.order_by("pk").last()
            assert row is not None, f"make a row of {model.__name__} in tests/properties/administration.py"
            self.rows[model] = str(row.pk)
        viewer = make_user("viewer@example.com", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        self.browser, self.viewers_browser = Client(), Client()
        self.browser.force_login(self.user)
        self.viewers_browser.force_login(viewer)

    def row(self, model: str) -> str:
        return next(pk for one, pk in self.rows.items() if one.__name__ == model)


def make_rows(agent: Caller, user: User, by: User) -> None:
    """At least one of each registered model."""
    now = timezone.now()
    soon = now + timedelta(hours=1)
    assert agent.ask(user, authorization_details=[PAYMENT]).status_code == 200
    sent = BackchannelRequest.objects.get()
    Group.objects.create(name="Treasury")
    accounts.invite("invited@example.com", "", by, now)
    registration.make_initial_token(InitialAccessToken(label="x", uses_left=1, expires_at=soon), by, now)
    HintIssuer.objects.create(
        issuer="https://a.example/", algorithms=HINT_ALGORITHMS[:1], jwks_uri="https://a.example/k"
    )
    SetAsideEvent.objects.create(at=now, kind="x.y", body="{}", problem="x")
    Work.objects.create(kind="x", about="x", payload={}, created_at=now, due_at=soon, deadline_at=soon)
    Recovery.objects.create(started_at=now, started_by="x", ended_at=now)
    key = VapidKey.objects.create(public_key="x", sealed_private_key=b"x", created_at=now)
    Device.objects.create(user=user, name="Phone", push_service="x.example", vapid_key=key, created_at=now)
    grant = Grant.objects.create(
        id=new_id(), agent=agent.agent, user=user, resource=sent.resource, created_at=now, expires_at=soon,
        authorization_details=sent.authorization_details, operation_digest=sent.operation_digest, uses_left=1,
        scopes=[],
    )  # fmt: skip
    backend = Backend(name="orders", engine="postgres", settings=NOWHERE)
    backend.sealed_secret = sealed(backend, "x")
    backend.save()
    role = make_role(backend, "orders-readonly", {"groups": ["orders_reader"]})
    Lease.objects.create(
        role=role, backend=backend, grant=grant, agent=agent.agent, user=user, operation_digest="x", use_id=new_id(),
        account_name="x", settings={}, state="stuck", created_at=now, lifetime=60, expires_at=soon, max_expires_at=soon,
        bound_by="requested", max_bound_by="grant", due_at=soon,
    )  # fmt: skip


@dataclass
class Request:
    """One request, which prints itself so that it can be sent again."""

    method: str
    path: str
    content_type: str = ""
    body: bytes = b""

    def send(self, browser: Client) -> Any:
        if self.method == "GET" and not self.content_type:
            return browser.get(self.path)
        return browser.generic(self.method, self.path, self.body, content_type=self.content_type)


class RandomRequests:
    def __init__(self, administration: Administration, chance: random.Random) -> None:
        self.there = administration
        self.chance = chance
        self.kinds: list[Callable[[], Request]] = [
            self._list, self._list, self._form, self._form, self._form, self._form, self._page, self._action,
            self._autocomplete, self._own_page,
        ]  # fmt: skip

    def next(self) -> Request:
        return self.chance.choice(self.kinds)()

    def _value(self) -> str:
        if self.chance.random() < 0.15:
            return self.chance.choice(list(self.there.rows.values()))
        if self.chance.random() < 0.1:
            return "".join(chr(self.chance.choice([self.chance.randrange(128), self.chance.randrange(0xD800)]))
                           for _ in range(self.chance.randrange(12)))  # fmt: skip
        return self.chance.choice(HOSTILE)

    def _model(self, *, to_change: bool = False) -> tuple[type[Model], Any, str]:
        """Among those that can be changed most of the time, where something is to be sent."""
        models = list(self.there.rows)
        if to_change and self.chance.random() < 0.9:
            models = [one for one in models if not isinstance(admin.site._registry[one], ReadOnly) or one is Lease]
        model = self.chance.choice(models)
        return model, admin.site._registry[model], f"/admin/{model._meta.app_label}/{model._meta.model_name}/"

    def _object_id(self, model: type[Model]) -> str:
        if self.chance.random() < 0.6:
            return quote(self.there.rows[model], safe="")
        return quote(self._value()[:200], safe="_") or "7"

    def _query(self, names: list[str]) -> str:
        pairs = [(self.chance.choice(names), self._value()[:500]) for _ in range(self.chance.randrange(4))]
        query = urlencode(pairs)
        if self.chance.random() < 0.05:
            query += self.chance.choice(["&%ff=%ed%a0%80&x", "&x" * 1100, "&a=%", "&=", "&a=1;b=2"])
        return f"?{query}" if query else ""

    def _names(self, model: type[Model], model_admin: Any) -> list[str]:
        filters = [one for one in model_admin.list_filter if isinstance(one, str)]
        fields = [one.name for one in model._meta.get_fields()]
        dates = [model_admin.date_hierarchy] if model_admin.date_hierarchy else []
        looked_up = [name + self.chance.choice(LOOKUPS) for name in (*filters, *filters, *dates, *dates, *fields)]
        return [*PLAIN_PARAMETERS, *looked_up]

    def _list(self) -> Request:
        model, model_admin, path = self._model()
        return self._get(path + self._query(self._names(model, model_admin)))

    def _page(self) -> Request:
        model, model_admin, path = self._model()
        page = self.chance.choice(["add/", "change/", "history/", "delete/", ""])
        where = path + page if page == "add/" else f"{path}{self._object_id(model)}/{page}"
        return self._get(where + self._query(self._names(model, model_admin)))

    def _get(self, path: str) -> Request:
        if self.chance.random() < 0.05:
            return Request("GET", path, f"text/plain; charset={self.chance.choice(ENCODINGS)}")
        return Request("GET", path)

    def _form(self) -> Request:
        """Add or change, with the fields of the real form: most of them as they should be."""
        model, model_admin, path = self._model(to_change=True)
        row = model._default_manager.filter(pk=self.there.rows[model]).first() if self.chance.random() < 0.5 else None
        request = RequestFactory().get("/")
        request.user = self.there.user
        if model_admin.has_change_permission(request, row) and model_admin.has_add_permission(request):
            form = model_admin.get_form(request, row, change=row is not None)(instance=row)
            data = [pair for name in form.fields for pair in self._filled(form, name)]
        else:
            data = [(one.name, self._value()) for one in model._meta.get_fields()]
        data += [(self.chance.choice(["_save", "_continue", "_addanother", "_saveasnew", "_popup"]), "1")]
        where = f"{path}{quote(str(row.pk), safe='')}/change/" if row else f"{path}add/"
        query = self._query(["_popup", "_to_field", "_changelist_filters"]) if self.chance.random() < 0.2 else ""
        return self._post(where + query, data)

    def _filled(self, form: Any, name: str) -> list[tuple[str, str]]:
        bound, dice = form[name], self.chance.random()
        if dice < 0.05:
            return []
        if (inputs := self._inputs_of(bound)) and dice < 0.6:
            return [(one, self._value() if self.chance.random() < 0.5 else "text") for one in inputs]
        if dice < 0.25:
            value: Any = self._value()
        else:
            value = bound.value()
            if value in (None, "", []) or (self.chance.random() < 0.1 and hasattr(bound.field, "choices")):
                value = self._likely(bound.field)
        if isinstance(bound.field.widget, forms.MultiWidget):
            parts = (
                value
                if isinstance(value, list)
                else bound.field.widget.decompress(None if isinstance(value, str) else value)
            )
            return [
                (f"{bound.html_name}_{n}", str(part if part is not None else self._value()))
                for n, part in enumerate(parts)
            ]
        values = value if isinstance(value, list | tuple) else [value]
        pairs = [(bound.html_name, str(getattr(one, "pk", one))) for one in values]
        hidden = bound.html_initial_name if bound.field.show_hidden_initial else None
        return pairs + ([(hidden, self._value())] if hidden and self.chance.random() < 0.5 else [])

    def _inputs_of(self, bound: Any) -> list[str]:
        """The inputs of a field that has several: rows, settings, keys."""
        widget, name = bound.field.widget, bound.html_name
        if hasattr(widget, "row_form"):
            inputs = [*widget.row_form.base_fields, "remove"]
            rows = [str(self.chance.choice([0, 1, 2, 58, 999])) for _ in range(2)]
            return [f"{name}-rows", *(f"{name}-{row}-{one}" for row in rows for one in inputs)]
        if isinstance(getattr(widget, "form", None), type):
            settings = widget.form.base_fields
            nested = [f"{name}-{one}-0-{inner}" for one, field in settings.items()
                      for inner in getattr(getattr(field.widget, "row_form", None), "base_fields", ())]  # fmt: skip
            return [f"{name}-described", *(f"{name}-{one}" for one in settings), *nested]
        if widget.needs_multipart_form:
            return [name, f"{name}-stored", f"{name}-remove", f"{name}-file"]
        return []

    def _likely(self, wanted: Any) -> Any:
        if hasattr(wanted, "choices"):
            return self.chance.choice([str(value) for value, _ in list(wanted.choices)[:30]] or [""])
        if isinstance(wanted, forms.IntegerField):
            return self.chance.choice(["1", "60", "600"])
        if isinstance(wanted, forms.JSONField):
            return self.chance.choice(['{"type": "object", "additionalProperties": false, "properties": {}}', "{}"])
        if isinstance(wanted, forms.SplitDateTimeField):
            return ["2030-01-01", "12:00:00"]
        return self.chance.choice(["a", "https://a.example/", "a@example.com", "orders"])

    def _action(self) -> Request:
        model, model_admin, path = self._model(to_change=True)
        request: Any = HttpRequest()
        request.user, request.GET = self.there.user, {}
        actions = [*model_admin.get_actions(request), "delete_selected", "x", ""]
        data = [("action", self.chance.choice(actions)), ("index", self.chance.choice(["0", "1", self._value()]))]
        data += [("_selected_action", self.there.rows[model] if self.chance.random() < 0.6 else self._value())
                 for _ in range(self.chance.randrange(3))]  # fmt: skip
        data += [("select_across", self.chance.choice(["0", "1", self._value()]))]
        query = self._query(self._names(model, model_admin)) if self.chance.random() < 0.2 else ""
        return self._post(path + query, data)

    def _autocomplete(self) -> Request:
        model = self.chance.choice(list(self.there.rows))
        names = [one.name for one in model._meta.get_fields()]
        right = {
            "app_label": model._meta.app_label,
            "model_name": str(model._meta.model_name),
            "field_name": self.chance.choice([*names, "user"]),
            "term": self._value(),
            "page": self.chance.choice(["1", self._value()]),
        }
        if self.chance.random() < 0.3:
            right = {"app_label": "clients", "model_name": "agent", "field_name": "user", "term": self._value()}
        if self.chance.random() < 0.2:
            right[self.chance.choice(list(right))] = self._value()
        return self._get("/admin/autocomplete/?" + urlencode(right))

    def _own_page(self) -> Request:
        """The pages that are ours or that Django has beside the models."""
        agent, grant, lease = (
            self._object_id(model) for model in self.there.rows if model._meta.model_name in {"agent", "grant", "lease"}
        )
        content_type = self.chance.choice(
            [str(ContentType.objects.get_for_model(User).pk), quote(self._value()[:50], "")]
        )
        by = self.chance.choice(["agent", "user", "grant", "role", "backend", "x"])
        path = self.chance.choice([
            f"clients/agent/{agent}/stop/", f"oauth/grant/{grant}/end/", f"credentials/lease/{lease}/abandon/",
            "credentials/lease/end/", f"credentials/lease/end/{by}/{self._object_id(Lease)}/", "accounts/user/invite/",
            "", "login/", "password_change/", "password_change/done/", "jsi18n/",
            f"r/{content_type}/{self._value()[:50]}/",
            "accounts/", f"{quote(self._value()[:50], '')}/", "operations/operationtype/import/",
            "prompt-preview/operationtype/", "prompt-preview/role/", f"prompt-preview/{quote(self._value()[:50], '')}/",
            f"operations/operationtype/{self._object_id(OperationType)}/roll-back/1/",
            f"operations/operationtype/{self._object_id(OperationType)}/history/",
            f"credentials/backend/{self._object_id(Backend)}/test/",
        ])  # fmt: skip
        names = ["kind", "branch", "why", "reason", "confirm", "email", "name", "next", "old_password", "new_password1",
                 "schema", "schema-0-name", "schema-0-choices", "schema-0-minimum", "title", "summary", "settings",
                 "settings-groups", "preview_of", "preview_manner", "document", "operation", "version", "from", "to",
                 "draft", "engine", "backend"]  # fmt: skip
        if self.chance.random() < 0.5:
            return self._get(f"/admin/{quote(path, safe='/%')}" + self._query(names))
        return self._post(f"/admin/{quote(path, safe='/%')}", [(name, self._value()) for name in names])

    def _post(self, path: str, data: list[tuple[str, str]]) -> Request:
        data = [(name, value.encode("utf-8", "replace").decode()) for name, value in data]
        dice = self.chance.random()
        if dice < 0.7:
            return Request("POST", path, "application/x-www-form-urlencoded", urlencode(data).encode())
        charset = f"; charset={self.chance.choice(ENCODINGS)}" if dice > 0.9 else ""
        if dice < 0.95:
            boundary = "b"
            head = "".join(
                f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in data
            )
            kind = f"multipart/form-data; boundary={boundary}{charset}"
            return Request("POST", path, kind, f"{head}--{boundary}--\r\n".encode())
        return Request("POST", path, f"application/x-www-form-urlencoded{charset}", urlencode(data).encode("latin-1"))

"""An operation type in the administration: fields as rows, the preview, the versions, the import."""

import json
import re
from dataclasses import fields
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import User
from audit.models import Event
from ciba.models import Prompt
from operations import examples, wording
from operations.examples import Manner
from operations.models import OperationType, OperationTypeVersion
from operations.schema_rows import Row, rows_of
from operations.type_form import LOOK_THEN_SAVE, FieldForm, row_data
from tests.operations.test_type_names import admin, form_of
from tests.rules.test_schema_rows import FROM_A_GENERATOR, OPEN_API
from tests.support.world import ResourceServer, allow_everything, make_caller, make_user, sign_in

__all__ = ["admin"]
pytestmark = pytest.mark.django_db
ADD = "/admin/operations/operationtype/add/"
PREVIEW = "/admin/prompt-preview/operationtype/"
ROWS = [
    Row("order", label="Order", required=True, maximum=40),
    Row("amount", "money", required=True),
    Row("currency", "choice", required=True, choices=("EUR", "USD")),
    Row("to.name", label="Payee", required=True, maximum=70),
    Row("site", "url"),
    Row("items", "list", of="text", longest=30, maximum=5),
]
SUMMARY = "Refund {amount|money:currency} for order {order} to {to.name}"


def refund(bank: ResourceServer, **more: Any) -> dict[str, Any]:
    form = form_of(bank.resource, name="refund", title="Refund", summary=SUMMARY, risk="critical")
    del form["schema"]
    return form | row_data(ROWS, "schema") | more


@pytest.fixture
def refund_type(admin: Client, bank: ResourceServer) -> OperationType:
    response = admin.post(ADD, refund(bank))
    assert response.status_code == 302, response.context["adminform"].form.errors
    return OperationType.objects.get(name="refund")


def change(kind: OperationType) -> str:
    return f"/admin/operations/operationtype/{kind.pk}/change/"


def errors_of(response: Any) -> dict[str, list[str]]:
    return dict(response.context["adminform"].form.errors)


def test_a_row_and_its_form_have_the_same_inputs() -> None:
    assert {one.name for one in fields(Row)} == set(FieldForm.base_fields)


def test_rows_make_the_schema_and_an_untouched_page_makes_no_version(
    admin: Client, bank: ResourceServer, refund_type: OperationType
) -> None:
    assert refund_type.current
    stored = rows_of(refund_type.current.schema)
    assert {row.name: row for row in stored} == {row.name: row for row in ROWS}
    page = admin.get(change(refund_type)).content.decode()
    assert 'value="to.name"' in page and 'name="schema" ' not in page.partition("Advanced")[0]
    untouched = refund(bank) | row_data(stored, "schema")
    assert admin.post(change(refund_type), untouched).status_code == 302
    assert refund_type.versions.count() == 1
    assert admin.post(change(refund_type), untouched | {"schema-0-maximum": "41"}).status_code == 302
    assert refund_type.versions.count() == 2


def test_a_row_is_removed_by_its_tick_without_javascript(
    admin: Client, bank: ResourceServer, refund_type: OperationType
) -> None:
    assert admin.post(change(refund_type), refund(bank) | {"schema-4-remove": "on"}).status_code == 302
    refund_type.refresh_from_db()
    assert refund_type.current and "site" not in refund_type.current.schema["properties"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"schema-1-name": "order"}, "order appears twice"),
        ({"schema-0-name": ""}, "row 1: Name: This field is required"),
        ({"schema-0-maximum": "many"}, "order: At most: Enter a number"),
        ({"schema-2-choices": ""}, "currency has no choices"),
        ({"schema-0-pattern": "(?=x)"}, "/order: look-around"),
        ({"schema-0-name": "type"}, "Remove it from properties, or rename it"),
        ({"schema-0-minimum": "-1"}, "properties/order/minLength: -1 is less than the minimum"),
        ({"schema-0-kind": "none"}, "order: Kind: Select a valid choice"),
        ({f"schema-{n}-name": f"f{n}" for n in range(41)}, "more than 40 rows"),
    ],
)
def test_a_problem_names_the_row_or_the_path(
    admin: Client, bank: ResourceServer, sent: dict[str, str], said: str
) -> None:
    more = {name.replace("-name", "-kind"): "text" for name in sent if name.endswith("-name") and len(sent) > 1}
    response = admin.post(ADD, refund(bank) | more | sent)
    assert said in str(errors_of(response)["schema"])
    assert not OperationType.objects.filter(name="refund").exists()


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ("Refund {amount|date}", ""),
        ("Refund {items|list}", "items is not a required field of the schema: make it required"),
        ("Refund {nothing}", "there is no such field. Required fields: {order}"),
        ("Refund {order", "write { and } only around a field"),
        ("Refund {to.name|list}", "list cannot display to.name, which is of the type string: write {to.name}"),
        ("Refund {amount|moneys}", "formatters: plain, money, date"),
    ],
)
def test_a_problem_of_the_wording_says_what_to_write(
    admin: Client, bank: ResourceServer, summary: str, said: str
) -> None:
    response = admin.post(ADD, refund(bank, summary=summary))
    if said:
        assert said in unescape(str(errors_of(response)["summary"]))
    else:  # a text may be a date
        assert response.status_code == 302


def test_a_common_schema_is_shown_tightened_before_it_is_saved(admin: Client, bank: ResourceServer) -> None:
    form = form_of(bank.resource, schema=json.dumps(FROM_A_GENERATOR), summary="Refund {order}")
    response = admin.post(ADD, form)
    said = errors_of(response)["schema"]
    assert said[0] == LOOK_THEN_SAVE and any("/amount: the object was closed" in one for one in said)
    assert not OperationTypeVersion.objects.exists()
    page = response.content.decode()
    assert 'value="amount.value"' in page, "the rows hold what would be saved"
    sent = dict(re.findall(r'name="(schema-[0-9]+-name)" value="([^"]+)"', page))
    assert set(sent.values()) == {"order", "amount.value", "reason", "tags", "site"}


def test_a_schema_that_is_no_rows_stays_json_with_the_reason(admin: Client, bank: ResourceServer) -> None:
    schema = {
        "type": "object", "additionalProperties": False, "required": ["a"],
        "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
    }  # fmt: skip
    form = form_of(bank.resource, schema=json.dumps(schema), summary="x")
    assert admin.post(ADD, form).status_code == 302
    page = admin.get(change(OperationType.objects.get())).content.decode()
    assert "a has several shapes" in page and "&quot;anyOf&quot;" in page


def test_a_viewer_reads_and_does_not_change(refund_type: OperationType) -> None:
    viewer = with_permissions("view_operationtype")
    page = viewer.get(change(refund_type)).content.decode()
    assert "Refund {amount|money:currency}" in page and "&quot;maxLength&quot;: 40" in page
    assert viewer.get(history(refund_type)).status_code == 200
    assert "Make a new version" not in viewer.get(history(refund_type)).content.decode()
    assert viewer.post(roll_back(refund_type, 1)).status_code == 403
    assert viewer.get("/admin/operations/operationtype/import/").status_code == 403


def with_permissions(*names: str) -> Client:
    user = make_user("staff@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = Client()
    browser.force_login(user)
    return browser


# --- the preview


def slip(page: str) -> str:
    """The text of the prompt: without its closing time and without what the page adds around it."""
    found = re.search(r"<article.*?</article>", page, re.DOTALL)
    assert found, page
    text = re.sub(r"<time.*?</time>", "", found[0], flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


@pytest.mark.parametrize("manner", Manner)
def test_the_preview_is_what_the_user_sees(
    admin: Client, bank: ResourceServer, refund_type: OperationType, user: User, signing: None, manner: Manner
) -> None:
    """The same values, by CIBA, on the page of the user."""
    assert refund_type.current
    preview = admin.post(PREVIEW, refund(bank) | {"preview_of": refund_type.pk, "preview_manner": manner.value})
    details, missing = examples.example(refund_type.current.schema, manner)
    assert missing == [] and preview.status_code == 200
    agent = allow_everything(make_caller("Example agent"), user)
    sent = agent.ask(user, authorization_details=[{"type": "refund"} | details])
    assert sent.status_code == 200, sent.json()
    page = sign_in(user).get(f"/prompts/{Prompt.objects.get().pk}")
    mine, theirs = slip(preview.content.decode()), slip(page.content.decode())
    # The agent of the test has a message and asks for scopes; a preview has neither.
    message = re.search(r" Message from the agent.*?”(?= ✕)", theirs)
    assert mine == (theirs.replace(message[0], "") if message else theirs)
    assert "Refund" in mine and "Bank" in mine and "Critical" in mine


def test_injected_text_stays_text(admin: Client, bank: ResourceServer) -> None:
    hostile = refund(bank, title="<script>alert(1)</script>", preview_manner="injected")
    hostile |= {"schema-0-label": "<img src=x onerror=alert(1)>", "schema-0-example": "</article><script>"}
    response = admin.post(PREVIEW, hostile)
    page = response.content.decode()
    assert "<script" not in page and "<img" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    policy = response["Content-Security-Policy"]
    assert "script-src 'none'" in policy and "frame-ancestors 'self'" in policy and "default-src 'none'" in policy
    assert response["X-Frame-Options"] == "SAMEORIGIN" and "no-store" in response["Cache-Control"]


def test_only_the_preview_may_be_framed(admin: Client, refund_type: OperationType) -> None:
    page = admin.get(change(refund_type))
    assert "frame-ancestors 'none'" in page["Content-Security-Policy"] and page["X-Frame-Options"] == "DENY"
    assert "frame-src 'self'" in page["Content-Security-Policy"]
    assert "frame-src" not in admin.get("/admin/")["Content-Security-Policy"]


def test_the_preview_says_what_is_missing(admin: Client, bank: ResourceServer) -> None:
    wanting = row_data([Row("code", pattern="^[QX]{9}-[0-9]{7}$", required=True)], "schema")
    form = {name: value for name, value in refund(bank).items() if not name.startswith("schema")} | wanting
    page = unescape(admin.post(PREVIEW, form | {"summary": "Refund {code}"}).content.decode())
    assert "There is no example of code:" in page and "Refund …" in page
    page = unescape(
        admin.post(PREVIEW, form | {"summary": "x", "schema-0-example": "QXQXQXQXQ-1234567"}).content.decode()
    )
    assert "QXQXQXQXQ-1234567" in page and "no example" not in page
    page = unescape(admin.post(PREVIEW, form | {"summary": "{nothing}"}).content.decode())
    assert "there is no such field" in page
    assert "Add the fields" in admin.post(PREVIEW, {}).content.decode()


def test_who_may_see_a_preview(bank: ResourceServer, refund_type: OperationType, user: User) -> None:
    form, of_one = refund(bank), refund(bank) | {"preview_of": refund_type.pk}
    assert Client().post(PREVIEW, form).status_code == 302
    assert sign_in(user).post(PREVIEW, form).status_code in {302, 403}
    viewer = with_permissions("view_operationtype")
    assert viewer.post(PREVIEW, form).status_code == 403 and viewer.post(PREVIEW, of_one).status_code == 403
    User.objects.filter(email="staff@example.com").delete()
    changer = with_permissions("change_operationtype")
    assert changer.post(PREVIEW, form).status_code == 403 and changer.post(PREVIEW, of_one).status_code == 200


def test_hostile_requests_for_a_preview(admin: Client, bank: ResourceServer) -> None:
    assert admin.get(PREVIEW).status_code == 405
    assert admin.post("/admin/prompt-preview/user/", {}).status_code == 404
    assert admin.post(PREVIEW, refund(bank) | {"preview_of": "x"}).status_code == 404
    assert Client(enforce_csrf_checks=True).post(PREVIEW, {}).status_code in {302, 403}
    for schema in ("[", "null", '{"type": "object"}', '{"type": "object", "properties": {"a": {"$ref": "#"}}}'):
        assert admin.post(PREVIEW, refund(bank) | {"schema": schema, "preview_manner": "x"}).status_code == 200
    assert not OperationType.objects.exists()


# --- versions


def history(kind: OperationType) -> str:
    return f"/admin/operations/operationtype/{kind.pk}/history/"


def roll_back(kind: OperationType, number: int) -> str:
    return f"/admin/operations/operationtype/{kind.pk}/roll-back/{number}/"


def test_versions_say_who_changed_what_and_can_be_restored(
    admin: Client, bank: ResourceServer, administrator: User, refund_type: OperationType
) -> None:
    changed = refund(bank, risk="sensitive") | {"schema-0-maximum": "50"}
    assert admin.post(change(refund_type), changed).status_code == 302
    page = unescape(admin.get(history(refund_type)).content.decode())
    for said in (administrator.email, "Version 2 (newest)", "field order, maxLength", "<td>40</td><td>50</td>",
                 "<td>critical</td><td>sensitive</td>"):  # fmt: skip
        assert said in page
    compared = unescape(admin.get(history(refund_type), {"from": "2", "to": "1"}).content.decode())
    assert "From version 2 to version 1" in compared and "<td>sensitive</td><td>critical</td>" in compared
    assert "equals version 1 again" in admin.post(roll_back(refund_type, 1), follow=True).content.decode()
    refund_type.refresh_from_db()
    first, third = refund_type.versions.get(number=1), refund_type.current
    assert third and third.number == 3 and third.created_by == f"user:{administrator.pk}"
    assert all(getattr(first, name) == getattr(third, name) for name in OperationTypeVersion.MEANING)
    event = Event.objects.filter(kind="operation_type.changed").latest("id")
    assert json.loads(event.body)["facts"]["version"] == 3
    again = admin.post(roll_back(refund_type, 1), follow=True).content.decode()
    assert "equals version 1 already" in again and refund_type.versions.count() == 3


@pytest.mark.parametrize("number", [0, 99, int("9" * 40)])
def test_rolling_back_to_a_version_that_does_not_exist(admin: Client, refund_type: OperationType, number: int) -> None:
    assert admin.post(roll_back(refund_type, number)).status_code == 404
    assert refund_type.versions.count() == 1


@pytest.mark.parametrize("number", ["", "0", "99", "x", "-1", "9" * 40, "\u0661"])
def test_comparing_versions_that_do_not_exist(admin: Client, refund_type: OperationType, number: str) -> None:
    assert admin.get(history(refund_type), {"from": number, "to": number}).status_code == 200


def test_a_version_that_todays_rules_refuse_is_not_restored(
    admin: Client, bank: ResourceServer, refund_type: OperationType
) -> None:
    assert admin.post(change(refund_type), refund(bank, uses=2)).status_code == 302
    old = refund_type.versions.get(number=1)
    old.schema["properties"]["order"]["pattern"] = "(?=x)"
    OperationTypeVersion.objects.filter(pk=old.pk).update(schema=old.schema)
    page = admin.post(roll_back(refund_type, 1), follow=True).content.decode()
    assert "Version 1 cannot be used any more" in page and refund_type.versions.count() == 2
    assert admin.get(roll_back(refund_type, 1)).status_code == 404


# --- import

IMPORT = "/admin/operations/operationtype/import/"
JUNK = [
    {"type": "object", "required": 5},
    {"type": "object", "required": [[]]},
    {"type": "object", "properties": ["x"], "required": ["x"]},
    {"type": "object", "properties": ["x"]},
    {"type": "object", "properties": [1], "allOf": [{"type": "object"}, {"type": "object"}]},
    {"openapi": "3.1.0", "paths": {"/x": {"post": {"parameters": [{"in": [], "name": "x"}]}}}},
    {"name": "x", "inputSchema": {}},
    {"type": "object", "properties": {"x": {"type": "string", "enum": None}}},
    {"type": "object", "properties": {"x": {"anyOf": [False, {"type": "string", "minLength": 50.0}]}}},
]


@pytest.mark.parametrize("document", JUNK)
def test_junk_is_refused_in_words(
    admin: Client, bank: ResourceServer, refund_type: OperationType, document: dict[str, Any]
) -> None:
    assert admin.post(IMPORT, {"document": json.dumps(document)}, follow=True).status_code == 200
    pasted = refund(bank) | {"schema": json.dumps(document), "preview_of": refund_type.pk}
    assert admin.post(PREVIEW, pasted).status_code == 200
    changed = admin.post(f"/admin/operations/operationtype/{refund_type.pk}/change/", pasted)
    assert changed.status_code == 200
    refund_type.refresh_from_db()
    assert refund_type.current is not None
    assert refund_type.current.number == 1


@pytest.mark.parametrize("least", [50.0, 2**52])
def test_a_text_of_any_least_length_costs_no_memory(
    admin: Client, bank: ResourceServer, refund_type: OperationType, least: float
) -> None:
    schema = {"type": "object", "additionalProperties": False, "required": ["note"], "$defs": {"x": {"type": "string"}},
              "properties": {"note": {"$ref": "#/$defs/x", "minLength": least}}}  # fmt: skip
    form = refund(bank) | {"schema": json.dumps(schema), "summary": "Note {note}", "preview_of": refund_type.pk}
    for manner in Manner:
        page = admin.post(PREVIEW, form | {"preview_manner": manner.value})
        assert page.status_code == 200
        assert len(page.content) < 100_000


def test_a_wording_may_name_a_field_behind_a_reference() -> None:
    party = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    schema = {"type": "object", "required": ["creditor"], "properties": {"creditor": {"$ref": "#/$defs/party"}},
              "$defs": {"party": party}}  # fmt: skip
    assert wording.placeholders(schema) == ["{creditor.name}"]
    assert wording.problems_with("Pay {creditor.name}", schema) == []
    assert "there is no such field" in wording.problems_with("Pay {creditor.iban}", schema)[0]


def test_a_document_that_repeats_a_long_text_is_refused(admin: Client) -> None:
    """Shared by reference, it is small; written out, it would be gigabytes."""
    fields = {f"f{number}": {"$ref": "#/$defs/long"} for number in range(1500)}
    long = {"type": "string", "description": "x" * 800_000}
    document = {"type": "object", "properties": fields, "$defs": {"long": long}}
    page = admin.post(IMPORT, {"document": json.dumps(document)}, follow=True)
    assert "has too many fields" in page.content.decode()


def test_one_operation_of_a_document_fills_the_rows(admin: Client) -> None:
    two = json.loads(json.dumps(OPEN_API))
    two["paths"]["/orders/{order}/refunds"]["get"] = {"summary": "List refunds"}
    choice = admin.post(IMPORT, {"document": json.dumps(two)})
    assert choice.status_code == 200 and "POST /orders/{order}/refunds" in choice.content.decode()
    sent = {"document": json.dumps(two), "operation": "POST /orders/{order}/refunds"}
    page = admin.post(IMPORT, sent, follow=True).content.decode()
    assert "Imported from POST /orders/{order}/refunds. Nothing is saved yet." in page
    assert 'value="order"' in page and "at most 200 characters" in page and "{amount|money}" in page
    assert not OperationType.objects.exists()
    # Another visit to the form begins empty.
    assert 'value="order"' not in admin.get(ADD).content.decode()


def test_a_file_with_one_tool_needs_no_choice(admin: Client) -> None:
    tool = {"name": "refund", "title": "Refund <b>", "inputSchema": FROM_A_GENERATOR}
    upload = SimpleUploadedFile("tool.json", json.dumps(tool).encode())
    page = admin.post(IMPORT, {"file": upload}, follow=True).content.decode()
    assert "Imported from tool refund" in page and 'value="amount.value"' in page and "Refund <b>" not in page


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("", "Paste a document"), ("openapi: 3.0.0", "YAML is not read"), ("[]", "no JSON object"),
        ('{"paths": {}}', "No operation was found"), ("[" * 5000, "is not JSON"), ("\x00", "Null characters"),
        ('{"tools": [{"inputSchema": {"type": "string"}}]}', "cannot be used"),
        ('{"type": "object", "properties": {"a": {"$ref": "#"}}}', "Countersign cannot use this part"),
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_document_that_cannot_be_read(admin: Client, document: str, said: str) -> None:
    page = unescape(admin.post(IMPORT, {"document": document}, follow=True).content.decode())
    assert said in page, re.findall(r"<li>.*?</li>|errorlist.*?</ul>", page)

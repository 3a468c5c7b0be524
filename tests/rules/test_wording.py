"""What a user reads: nothing hidden, nothing that reads as something else than what will run."""

# ruff: noqa: RUF001, RUF003 - look-alikes are the subject

import re
from typing import Any

import pytest

from operations import wording
from operations.wording import WordingError, all_fields, problems_with, render, unshowable

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["amount", "currency", "to"],
    "properties": {
        "amount": {},
        "currency": {},
        "note": {},
        "to": {"type": "object", "required": ["name"], "properties": {"name": {}}},
    },
}


@pytest.mark.parametrize(
    ("text", "details", "content"),
    [
        ("Pay {amount|money:currency}", {"amount": "1234.50", "currency": "EUR"}, "Pay EUR 1,234.50"),
        ("Pay {amount|money}", {"amount": 5}, "Pay 5"),
        ("Pay {amount|money}", {"amount": -0.5}, "Pay -0.5"),
        ("On {day|date}", {"day": "2026-11-04"}, "On 4 November 2026"),
        ("At {at|time}", {"at": "2026-11-04T09:30:00+00:00"}, "At 4 November 2026, 09:30 UTC"),
        ("At {at|time}", {"at": "2026-11-04t09:30:15.2500z"}, "At 4 November 2026, 09:30:15.2500 UTC"),
        (
            "At {at|time}",
            {"at": "2026-11-04T09:30:00.123456789+02:00"},
            "At 4 November 2026, 09:30:00.123456789 UTC+02:00",
        ),
        ("At {at|time}", {"at": "2026-11-04T09:30"}, "At 4 November 2026, 09:30"),
        ("At {at|time}", {"at": "09:30:00-05:00"}, "At 09:30 UTC-05:00"),
        ("Open {url|host}", {"url": "https://user@shop.example.com:8443/x?y"}, "Open shop.example.com"),
        ("Send to {to|list}", {"to": ["a", "b", "c"]}, "Send to a, b and c"),
        ("Send to {to|list}", {"to": []}, "Send to none"),
        ("Pay {to.name}", {"to": {"name": "Acme"}}, "Pay Acme"),
        (
            "{on} {off} {nothing} {empty}",
            {"on": True, "off": False, "nothing": None, "empty": ""},
            "yes no none (empty)",
        ),
        # The number that is signed, however it was written.
        ("{n}", {"n": 100.0}, "100"),
        ("{n}", {"n": 1e-7}, "1e-7"),
    ],
)
def test_formatters(text: str, details: dict[str, Any], content: str) -> None:
    assert render(text, details) == content


@pytest.mark.parametrize(
    "amount",
    [
        "1e3",
        "1E999999999",
        "١٢٣.00",
        "１２.00",
        "1_000.00",
        " 12 ",
        "12\n",
        "0x10",
        "Infinity",
        "NaN",
        "",
        "--5",
        "1,5",
        True,
        None,
        [],
        {},
        1e22,
        "9" * 16,
        "1.0000001",
    ],
)
def test_money_that_could_be_read_as_another_amount_is_not_shown(amount: Any) -> None:
    with pytest.raises(WordingError):
        render("Pay {amount|money}", {"amount": amount})


class TestHosts:
    @pytest.mark.parametrize(
        ("url", "content"),
        [
            ("https://bank.example.com@evil.example.com/", "evil.example.com"),
            ("https://bаnk.example.com/", "xn--bnk-6cd.example.com"),  # Cyrillic а
            # IDNA 2003 made "strasse" of it, which is somebody else's host.
            ("https://straße.example.com/", "xn--strae-oqa.example.com"),
            ("https://bank。example.com/", "xn--bankexample-7e3j.com"),
        ],
    )
    def test_as_the_network_knows_them(self, url: str, content: str) -> None:
        assert render("{url|host}", {"url": url}) == content

    @pytest.mark.parametrize(
        "url",
        [
            r"https://evil.example.com\@bank.example.com/",
            "https://bank\n.example.com/",
            "https://bank .example.com/",
            "bank.example.com",
            "https://[::1",
            "https:///x",
            "",
            7,
        ],
    )
    def test_what_two_programs_read_differently_is_not_shown(self, url: Any) -> None:
        with pytest.raises(WordingError):
            render("{url|host}", {"url": url})


class TestNothingPassesForSomethingElse:
    @pytest.mark.parametrize(
        ("items", "content"),
        [
            (["a@x.example", "b@x.example and c@x.example"], "a@x.example and “b@x.example and c@x.example”"),
            (["Doe, John"], "“Doe, John”"),
            (["a", "b”, “c"], "a and “b”, “c”"),
        ],
    )
    def test_an_item_that_looks_like_two(self, items: list[str], content: str) -> None:
        assert render("{to|list}", {"to": items}) == content

    def test_a_value_of_several_lines_is_not_in_a_line(self) -> None:
        with pytest.raises(WordingError, match="several lines"):
            render("Pay {to}", {"to": "Acme\nReference: none"})

    def test_a_value_that_looks_like_a_placeholder_is_a_value(self) -> None:
        assert render("Pay {to}", {"to": "{amount}", "amount": "1"}) == "Pay {amount}"

    @pytest.mark.parametrize(
        "text",
        ["Аcme", "Acmе", "ΑCME", "Ⅼloyds", "Acme GmbH раypal", "ԁesk", "Ꭺcme"],
    )
    def test_look_alikes_in_a_latin_word_are_refused(self, text: str) -> None:
        assert "look like them" in str(unshowable({"to": text}))

    @pytest.mark.parametrize(
        "text",
        [
            "Acme GmbH",
            "Łódź Größe ñ",
            "Москва",
            "SMSка",
            "10 kΩ",
            "5 µm",
            "Δt",
            "東京 Tower",
            "株式会社ABC",
            "مرحبا ABC",
            "שלום",
            "Αθήνα",
            "ООО Acme",
            "α-Tocopherol",
            "R2D2",
            "snake_case",
        ],
    )
    def test_names_of_this_world_are_shown(self, text: str) -> None:
        assert unshowable({"to": text}) is None

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a\u202eb", "U\\+202E"),
            ("a\u200bb", "U\\+200B"),
            ("a\u2066b", "U\\+2066"),
            ("\U000e0041", "U\\+E0041"),
            ("a\x00", "U\\+0000"),
            ("a\tb", "U\\+0009"),
            ("a\ufe0f", "variation selector"),
            ("\u3164", "U\\+3164"),
            ("e\u0301", "Normalization"),
            ("q\u0323\u0324\u0325", "combining marks"),
            ("\ue000", "U\\+E000"),
        ],
    )
    def test_what_cannot_be_seen_is_refused(self, text: str, reason: str) -> None:
        for value in ({"to": text}, {"to": ["x", {"deep": text}]}, {text: "x"}):
            problem = unshowable(value)
            assert problem and (re.search(reason, problem) or "name that cannot be shown" in problem)


class TestEveryField:
    def test_also_what_the_wording_leaves_out_and_what_is_nested(self) -> None:
        details = {
            "type": "order",
            "note": "first line\nsecond line",
            "to": {"name": "Acme", "bank": {"iban": "DE1"}},
            "items": [{"sku": "a", "count": 2}, {"sku": "b", "count": 1}],
            "tags": ["x", "y, z"],
            "nothing": [],
            "empty": {},
        }
        schema = {"properties": {"to": {"title": "Payee", "properties": {"name": {"title": "Name on account"}}}}}
        assert [(field.label, field.value) for field in all_fields(details, schema)] == [
            ("Note", "first line\nsecond line"),
            ("Payee: Name on account", "Acme"),
            ("Payee: Bank: Iban", "DE1"),
            ("Items 1: Sku", "a"),
            ("Items 1: Count", "2"),
            ("Items 2: Sku", "b"),
            ("Items 2: Count", "1"),
            ("Tags", "x, “y, z”"),
            ("Nothing", "none"),
            ("Empty", "none"),
        ]


@pytest.mark.parametrize(
    ("name", "value", "content"),
    [
        ("date", "2026-11-04", "4 November 2026"),
        ("date-time", "2026-11-04T09:30:00Z", "4 November 2026, 09:30 UTC"),
        ("date-time", "2026-11-04T09:30:01.5+02:00", "4 November 2026, 09:30:01.5 UTC+02:00"),
        ("time", "09:30:00+02:00", "09:30 UTC+02:00"),
        ("time", "09:30:00.0000001Z", "09:30:00.0000001 UTC"),
        ("uri", "https://bank.example.com/pay?to=1", "https://bank.example.com/pay?to=1"),
        (
            "uri",
            "https://bank.example.com@evil.example/",
            "https://bank.example.com@evil.example/ (leads to evil.example)",
        ),
        ("uri", "https://BANK.example:443/", "https://BANK.example:443/ (leads to bank.example)"),
        ("uri", "urn:isbn:1", "urn:isbn:1"),
        ("uri", "javascript:alert(1)", "javascript:alert(1)"),
        ("ipv4", "10.0.0.6", "10.0.0.6"),
        ("ipv6", "::ffff:10.0.0.6", "::ffff:10.0.0.6"),
        ("hostname", "xn--bnk-6cd.example.com", "xn--bnk-6cd.example.com"),
        # A stored value that the format's reader does not take is shown as it was sent.
        ("date-time", "soon", "soon"),
        ("uri", "http://[::1", "http://[::1"),
        ("date", None, "none"),
    ],
)
def test_a_value_of_a_format_is_shown_in_words(name: str, value: Any, content: str) -> None:
    part = {"type": "string", "format": name}
    for schema in (
        {"properties": {"a": part}},
        {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"$ref": "#/$defs/y"}, "y": part}},
    ):
        assert [field.value for field in all_fields({"a": value}, schema)] == [content]
    listed = {"properties": {"a": {"items": part}}}
    assert [field.value.strip("“”") for field in all_fields({"a": [value]}, listed)] == [content]


def test_a_title_behind_a_reference_is_the_label() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"title": "Payee"}}}
    assert [field.label for field in all_fields({"a": "Acme"}, schema)] == ["Payee"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("x" * 301, "longer"),
        ("Pay {amount", "brace"),
        ("Pay }amount{", "brace"),
        ("Pay {amount|shout}", "the formatter shout does not exist"),
        ("Pay {note}", "not a required field"),
        ("Pay {to.iban}", "not a required field"),
        ("Pay {amount|money:nothing}", "not a required field"),
        ("Pay {amount.__class__}", "not a required field"),
        ("Pay {amount!r:>999999999}", "not {field}"),
        ("{% include 'x' %}", "not {field}"),
        ("Pay {}", "not {field}"),
    ],
)
def test_wordings_that_are_not_accepted(text: str, problem: str) -> None:
    assert any(problem in found for found in problems_with(text, SCHEMA))


def test_wordings_that_are() -> None:
    assert problems_with("Pay {amount|money:currency} to {to.name}", SCHEMA) == []


def test_a_missing_value_is_an_error_and_not_a_gap() -> None:
    with pytest.raises(WordingError, match=r"to\.name is missing"):
        render("Pay {to.name}", {"to": "x"})


def test_the_version_is_part_of_what_is_bound() -> None:
    assert wording.WORDING_VERSION == 3, "rendering changed: raise it, so that the evidence says which one was shown"

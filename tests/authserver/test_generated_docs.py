"""docs/errors.md, docs/events.md and docs/settings.md are what the code says. No database."""

import re
from pathlib import Path

import pytest
from django.core.management import call_command

from audit import events
from audit.events import EventKind, all_kinds
from authserver import variables
from authserver.environment import Variable
from authserver.generated_docs import PAGES, find_outdated_pages, settings_page, write_pages
from authserver.generated_docs.error_page import FAMILIES, error_classes, meaning
from authserver.generated_docs.event_page import SECTIONS, noun_of
from authserver.generated_docs.recorded_facts import find_recorded
from authserver.generated_docs.settings_page import all_sections
from foundation.errors import ProtocolError

ROOT = Path(__file__).resolve().parents[2]
# Set by the product itself, or by WSGI (web/exchange.py).
INTERNAL_VARIABLES = {"COUNTERSIGN_PREPARED_FILE", "CONTENT_TYPE", "CONTENT_LENGTH", "REQUEST_METHOD"}


def declared_names() -> set[str]:
    return {one.name for members in all_sections().values() for one in members}


def test_the_documents_are_current() -> None:
    call_command("write_docs", "--check")


def test_a_document_that_is_missing_or_changed_is_outdated(tmp_path: Path) -> None:
    assert find_outdated_pages(tmp_path) == list(PAGES)
    (tmp_path / "docs").mkdir()
    write_pages(tmp_path)
    assert find_outdated_pages(tmp_path) == []
    (tmp_path / "docs" / "events.md").write_text("changed")
    assert find_outdated_pages(tmp_path) == ["docs/events.md"]


@pytest.mark.parametrize("kind", list(error_classes()), ids=lambda kind: kind.__name__)
def test_every_error_has_a_meaning_and_advice_of_its_own(kind: type[ProtocolError]) -> None:
    assert "advice" in vars(kind) and kind.advice.endswith("."), "say in `advice` what a client's developer does"
    assert meaning(kind).endswith("."), "say in the docstring what the error means"


def test_every_error_is_in_a_table() -> None:
    listed = {name for family in FAMILIES for name in family.errors}
    assert listed == {kind.__name__ for kind in error_classes()}


def test_every_event_is_in_one_section() -> None:
    nouns = [noun for section in SECTIONS.values() for noun in section]
    assert len(nouns) == len(set(nouns))
    assert set(nouns) == {noun_of(kind) for kind in all_kinds()}


class TestSettings:
    def test_each_variable_is_declared_under_its_name_in_a_section(self) -> None:
        declared = {name: one for name, one in vars(variables).items() if isinstance(one, Variable)}
        assert all(name == one.name for name, one in declared.items())
        assert [one for members in all_sections().values() for one in members] == list(declared.values())

    def test_each_variable_has_a_meaning(self) -> None:
        for one in (one for members in all_sections().values() for one in members):
            assert one.meaning.endswith(".")

    def test_each_declared_variable_is_read(self) -> None:
        code = "".join(
            path.read_text() for package in ("authserver", "runtime") for path in (ROOT / package).rglob("*.py")
        )
        unread = {name for name in declared_names() if f"variables.{name}" not in code}
        assert unread == {"CHROMIUM"}  # tests/stories/conftest.py

    def test_the_product_reads_no_other_variable(self) -> None:
        pattern = re.compile(r"""environ(?:\.get\(|\[)["'](\w+)["']""")
        for package in (
            "authserver",
            "web",
            "runtime",
            "ciba",
            "credentials",
            "devices",
            "oauth",
            "clients",
            "foundation",
        ):
            for path in (ROOT / package).rglob("*.py"):
                assert set(pattern.findall(path.read_text())) <= declared_names() | INTERNAL_VARIABLES, path

    def test_the_document_has_what_stops_a_start(self) -> None:
        text = settings_page.render()
        assert "- CIBA_REQUEST_LIFETIME must not be longer than CIBA_REQUEST_LIFETIME_MAX." in text
        assert "- REDIS_URL must be set." in text
        assert "| `PORT` | 8000 | 1 to 65535 | The port of the web process. |" in text


def test_facts_are_followed_through_variables_functions_and_callers(tmp_path: Path) -> None:
    (tmp_path / "oauth").mkdir()
    (tmp_path / "oauth" / "lifecycle.py").write_text(
        """
def told(grant): return {"agent": 1, **({"reason": 2} if grant else {})}
def passes(kind, about, **facts): record(kind, about, now, **facts)
def calls():
    kind = events.A if x else events.B
    record(kind, about, now, own=1, **told(grant))
    passes(events.C, about, fact=1)
    record_revocations(events.D, [(about, {"listed": 1}) for about in abouts], now)
    record(events.E, about, now, **selection.facts)
"""
    )
    assert find_recorded(tmp_path) == {
        "A": {"own", "agent", "reason"},
        "B": {"own", "agent", "reason"},
        "C": {"fact"},
        "D": {"listed"},
        "E": {"…"},
    }


def test_every_kind_of_event_is_recorded_somewhere() -> None:
    declared = {name for name, kind in vars(events).items() if isinstance(kind, EventKind)}
    assert declared == set(find_recorded(ROOT))

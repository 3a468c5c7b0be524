"""docs/errors.md and docs/events.md are what the code says. No database."""

from pathlib import Path

import pytest
from django.core.management import call_command

from audit import events
from audit.events import EventKind, all_kinds
from authserver.generated_docs import PAGES, find_outdated_pages, write_pages
from authserver.generated_docs.error_page import FAMILIES, error_classes, meaning
from authserver.generated_docs.event_page import SECTIONS, noun_of
from authserver.generated_docs.recorded_facts import find_recorded
from foundation.errors import ProtocolError


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
    assert declared == set(find_recorded(Path(__file__).resolve().parents[2]))

"""The documents that are written from the code: errors, events, settings, engines, staff roles, configuration.

`manage.py write_docs` writes them. They need no database.

error_page.py        docs/errors.md, from the error classes
event_page.py        docs/events.md, from the kinds of events
recorded_facts.py    which facts the code records with which kind of event
settings_page.py     docs/settings.md, from authserver/variables.py
engine_page.py       docs/engines.md, from the descriptions of the built-in engines' settings
staff_roles_page.py  docs/staff-roles.md, from accounts/staff_roles.py and authserver/staff_access.py
markdown.py          tables and sections (pure)

authserver/configuration/json_schema.py renders docs/config.schema.json.
"""

from collections.abc import Callable
from pathlib import Path

from authserver.configuration import json_schema
from authserver.generated_docs import engine_page, error_page, event_page, settings_page, staff_roles_page

PAGES: dict[str, Callable[[], str]] = {
    "docs/engines.md": engine_page.render,
    "docs/errors.md": error_page.render,
    "docs/events.md": event_page.render,
    "docs/settings.md": settings_page.render,
    "docs/config.schema.json": json_schema.render,
    "docs/staff-roles.md": staff_roles_page.render,
}


def write_pages(root: Path) -> None:
    for path, render in PAGES.items():
        (root / path).write_text(render(), encoding="utf-8")


def find_outdated_pages(root: Path) -> list[str]:
    """The paths whose file is missing or differs from what the code says now."""
    return [path for path, render in PAGES.items() if _read(root / path) != render()]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None

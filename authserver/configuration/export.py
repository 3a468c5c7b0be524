"""The stored configuration as a file.

The file has no secret. A backend names the environment variable in which apply_config would look
for its secret, if the backend did not exist.
"""

import re
from typing import Any

from authserver.configuration.differences import Values
from authserver.configuration.json_schema import VERSION
from authserver.configuration.secret_references import PREFIX
from authserver.configuration.section import REQUIRED, SECRET, Section
from authserver.configuration.sections import SECTIONS
from authserver.configuration.yaml_format import dump

HEADER = "# Countersign configuration, written by manage.py export_config (docs/config.md).\n"


def render_export() -> str:
    sections = {name: [_entry(section, one) for one in section.read_stored().values()]
                for name, section in SECTIONS.items()}  # fmt: skip
    return HEADER + dump({"version": VERSION, **sections})


def _entry(section: Section, values: Values) -> dict[str, Any]:
    """The object without the fields that have their default."""
    entry = {
        one.name: values[one.name]
        for one in section.fields
        if one.name in values and (one.default is REQUIRED or values[one.name] != one.default)
    }
    if any(one.name == SECRET for one in section.fields):
        variable = re.sub(r"[^A-Z0-9]", "_", values[section.key].upper())
        entry[SECRET] = {"env": f"{PREFIX}{section.noun.upper()}_{variable}"}
    return entry

"""The commands for configuration files, as a terminal or CI runs them, and the example of their guide."""

import json
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from django.core.management import call_command
from django.core.management.base import CommandError

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "config.md"


@dataclass
class Outcome:
    code: int
    text: str  # what it printed
    error: str = ""


def apply(folder: Path, content: str | dict[str, Any], *options: str, name: str = "countersign.yaml") -> Outcome:
    path = folder / name
    path.write_text(
        content if isinstance(content, str) else json.dumps(content, indent=2, ensure_ascii=False)
    )  # JSON is YAML
    return apply_file(path, *options)


def apply_file(path: Path, *options: str) -> Outcome:
    out = StringIO()
    try:
        call_command("apply_config", str(path), *options, stdout=out)
    except CommandError as error:
        return Outcome(error.returncode, out.getvalue(), str(error))
    return Outcome(0, out.getvalue())


def export() -> str:
    out = StringIO()
    call_command("export_config", stdout=out)
    return out.getvalue()


def example() -> str:
    """The file of docs/config.md. Its backend is where nothing listens, so that no test waits for a name."""
    (found,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert "host: db.example.com," in found
    return str(found).replace("host: db.example.com,", "host: 127.0.0.1, port: 1,")


def parsed_example() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(example())
    return found

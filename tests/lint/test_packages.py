"""A package's docstring says where everything in it is: it names each module and each package below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("authserver", "web", "runtime", "ciba", "credentials", "devices", "oauth", "clients", "operations",
            "accounts", "audit", "foundation", "lint")  # fmt: skip
# Where Django looks: the same in every app.
FIXED_FILES = {"__init__.py", "__main__.py", "apps.py", "urls.py"}
FIXED_FOLDERS = {"migrations", "templatetags", "formats", "management"}


def packages() -> Iterator[Path]:
    for name in PACKAGES:
        for init in sorted((ROOT / name).rglob("__init__.py")):
            if not FIXED_FOLDERS & set(init.relative_to(ROOT).parts):
                yield init.parent


@pytest.mark.parametrize("package", list(packages()), ids=lambda package: str(package.relative_to(ROOT)))
def test_the_docstring_names_every_module(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    modules = {path.name for path in package.glob("*.py")} - FIXED_FILES
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")} - {f"{one}/" for one in FIXED_FOLDERS}
    assert {name for name in modules | folders if name not in docstring} == set()

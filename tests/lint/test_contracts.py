"""Import contracts (pyproject.toml): each refuses what it should, and their lists name every file of their kind."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
LINTER = PROJECT["importlinter"]

# Contract → a file, and an import in it that breaks the contract.
VIOLATIONS = {
    "Imports go down only": ("oauth/errors.py", "import ciba.states"),
    "Pure rules know no Django, clock, chance or network": ("ciba/policy.py", "from ciba.models import Prompt"),
    "One door to the network": ("clients/keys.py", "import httpcore"),
    "Drivers of databases and queues have doors of their own": ("ciba/token_grant.py", "import redis"),
    "Views call neither outbound nor outbox": ("devices/pages.py", "from foundation import outbox"),
    "No request resolves a reference to a secret": (
        "authserver/kill_switch.py",
        "from authserver.configuration import secret_references",
    ),
    "The HTTP front and the embedded servers import only foundation": ("web/hub.py", "import oauth.errors"),
}


def contract(name: str) -> dict[str, Any]:
    (found,) = (one for one in LINTER["contracts"] if one["name"] == name)
    return dict(found)


def modules() -> Iterator[str]:
    for package in LINTER["root_packages"]:
        for path in (ROOT / package).rglob("*.py"):
            if "migrations" not in path.parts:
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def pure_modules() -> set[str]:
    return set(contract("Pure rules know no Django, clock, chance or network")["source_modules"])


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each contract's verdict on a copy of the product in which every contract is violated."""
    copy = tmp_path_factory.mktemp("product")
    for package in LINTER["root_packages"]:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__", "migrations"))
    for path, violation in VIOLATIONS.values():
        (copy / path).write_text(f"{(copy / path).read_text()}\n{violation}\n")
    shutil.copy(ROOT / "pyproject.toml", copy)
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    answer = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert answer.returncode == 1, answer.stdout + answer.stderr
    return dict(re.findall(r"^(.+) (KEPT|BROKEN)", answer.stdout, re.MULTILINE))


@pytest.mark.parametrize("name", [one["name"] for one in LINTER["contracts"]])
def test_a_violation_breaks_the_contract(name: str, verdicts: dict[str, str]) -> None:
    assert verdicts[name] == "BROKEN"


@pytest.mark.parametrize("module", ["urllib.request", "http.client"])
@pytest.mark.parametrize("path", ["ciba/callbacks/sender.py", "foundation/outbound.py", "credentials/engines/redis.py"])
def test_ruff_refuses_the_standard_library_s_http_clients(module: str, path: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--select", "TID251", "--stdin-filename", path, "-"]
    answer = subprocess.run(command, cwd=ROOT, input=f"import {module}\n", capture_output=True, text=True, check=False)
    assert "TID251" in answer.stdout


class TestPureRules:
    def test_every_listed_module_exists(self) -> None:
        assert pure_modules() <= set(modules())

    def test_states_and_policies_are_listed(self) -> None:
        kinds = re.compile(r"\.(states|limits|policy|\w+_policy)$")
        assert {module for module in modules() if kinds.search(module)} <= pure_modules()

    def test_a_module_that_says_it_is_pure_is_listed(self) -> None:
        for module in modules():
            path = ROOT / f"{module.replace('.', '/')}.py"
            if path.is_file() and re.search(r'\bPure\.(?:"""|\n)', path.read_text().partition('"""\n')[0] + '"""\n'):
                assert module in pure_modules()

    def test_the_architecture_lists_the_same(self) -> None:
        section = (ROOT / "ARCHITECTURE.md").read_text().partition("| package | pure rules |")[2].partition("\n\n")[0]
        listed = set()
        for packages, names in re.findall(r"^\| (.+?) \| (.+) \|$", section, re.MULTILINE):
            several = "," in packages  # then each name starts with its package
            for name in re.findall(r"`([^`]+)`", names):
                listed.add((name if several else f"{packages.strip('`')}/{name}").replace("/", "."))
        assert listed == pure_modules()


class TestViews:
    def test_every_module_that_urls_name_is_listed(self) -> None:
        listed = contract("Views call neither outbound nor outbox")["source_modules"]
        for path in ROOT.glob("*/urls.py"):
            for package, names in re.findall(r"^from (\S+) import (.+)$", path.read_text(), re.MULTILINE):
                if package.partition(".")[0] not in LINTER["root_packages"]:
                    continue
                for name in names.split(", "):
                    module = f"{package}.{name}" if f"{package}.{name}" in set(modules()) else package
                    assert module in listed or f"**.{module.rpartition('.')[2]}" in listed, module


class TestDoors:
    @pytest.mark.parametrize(
        "name", ["One door to the network", "Drivers of databases and queues have doors of their own"]
    )
    def test_every_package_is_held_to_them(self, name: str) -> None:
        assert contract(name)["source_modules"] == LINTER["root_packages"]

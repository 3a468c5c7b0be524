"""The MCP project's own conformance suite, unmodified: everything in it that tests an authorization server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runtime.processes import free_port
from tests.node import running
from tests.stories.conftest import Product
from tests.support.public_clients import SignedIn, register_public_client

SUITE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
CHECKS = {"authorization-server-metadata", "authorization-server-metadata-cimd", "authorization-code-grant"}


@pytest.fixture
def somebody(product: Product) -> Iterator[SignedIn]:
    with httpx.Client(base_url=product.url, timeout=60) as http:
        yield SignedIn(http, product.password)


def run_suite(folder: Path, product: Product, somebody: SignedIn, results: Path, *more: str) -> dict[str, str]:
    """Check → its status. The suite prints the address to open in a browser, and waits at its own callback."""
    port = free_port()
    client_id = register_public_client(product.url, "MCP conformance", f"http://127.0.0.1:{port}/callback")
    arguments = ["--url", product.url, "--client-id", client_id, "--port", str(port), "--output-dir", str(results)]
    said: list[str] = []
    with running(folder, SUITE, "authorization", *arguments, *more) as suite:
        while (line := suite.next_line()) is not None:
            said.append(line)
            if line.startswith(f"{product.url}/authorize?"):
                assert httpx.get(somebody.allow(line)).status_code == 200
        assert suite.exit_code() == 0, "\n".join([*said, suite.stderr()])
    checks: list[dict[str, Any]] = []
    for path in results.rglob("checks.json"):
        checks += json.loads(path.read_text())
    return {check["id"]: f"{check['status']} {check.get('errorMessage', '')}".strip() for check in checks}


def test_every_authorization_server_scenario_succeeds(
    node_clients: Path, product: Product, somebody: SignedIn, tmp_path: Path
) -> None:
    """No failure, no warning, and nothing is skipped. Its authorization request names no scope."""
    assert run_suite(node_clients, product, somebody, tmp_path) == dict.fromkeys(CHECKS, "SUCCESS")


def test_it_succeeds_for_a_named_resource(
    node_clients: Path, product: Product, somebody: SignedIn, tmp_path: Path
) -> None:
    resource = json.loads((product.data_dir / "demo" / "api.json").read_text())["resource"]
    checks = run_suite(node_clients, product, somebody, tmp_path, "--resource", resource)
    assert checks == dict.fromkeys(CHECKS, "SUCCESS")


def test_the_suite_has_no_other_authorization_server_scenarios(node_clients: Path) -> None:
    """A newer suite may have more: then CHECKS above grows."""
    with running(node_clients, SUITE, "list", "--authorization") as suite:
        lines = []
        while (line := suite.next_line()) is not None:
            lines.append(line)
    listed = {line.split()[1] for line in lines if line.startswith("  - ")}
    assert listed == {"authorization-server-metadata-endpoint", "authorization-code-grant"}

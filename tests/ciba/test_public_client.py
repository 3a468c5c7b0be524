"""A public CIBA client that nobody here wrote (openid-client for Node), unmodified, against the running server."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from ciba.models import BackchannelRequest, Prompt
from tests.world import PAYMENT, Caller, ResourceServer

pytestmark = pytest.mark.django_db(transaction=True)
HERE = Path(__file__).parent.parent / "openid_client"


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """openid-client, as its lock file says, in a folder of this run."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        problem = "openid-client needs Node 20 and npm: apt-get install nodejs npm"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("openid-client")
    for name in ("package.json", "package-lock.json", "poll.mjs"):
        shutil.copy(HERE / name, folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder, check=True, timeout=120)
    return folder


@pytest.fixture
def running(
    package: Path, agent: Caller, person: User, live_server: LiveServer, settings: Any
) -> Iterator[subprocess.Popen[str]]:
    """The client, started: it has asked, and polls."""
    settings.ISSUER_URL = live_server.url
    settings.POLL_INTERVAL = 1
    told = {
        "issuer": live_server.url, "client_id": agent.agent.client_id, "login_hint": person.email,
        "key": {**agent.key.as_dict(private=True), "kid": agent.key.kid}, "authorization_details": [PAYMENT],
    }  # fmt: skip
    node = subprocess.Popen(
        ["node", "poll.mjs"], cwd=package, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert node.stdin is not None
    node.stdin.write(json.dumps(told) + "\n")
    node.stdin.close()
    yield node
    node.kill()
    node.wait()
    if node.stdout is not None:
        node.stdout.close()


def next_line(node: subprocess.Popen[str]) -> dict[str, Any]:
    assert node.stdout is not None
    return dict(json.loads(node.stdout.readline()))


def test_it_polls_until_the_yes(
    running: subprocess.Popen[str], browser_of_person: Client, person: User, bank: ResourceServer, agent: Caller
) -> None:
    asked = next_line(running)["asked"]
    assert asked["interval"] == 1 and BackchannelRequest.objects.get().binding_message == "From Node"
    assert browser_of_person.post(f"/v1/prompts/{Prompt.objects.get().id}/approve").status_code == 200
    answer = next_line(running)
    assert answer["claims"]["sub"] == person.sub, "checked by the client: signature, issuer, audience, times"
    assert answer["claims"]["urn:openid:params:jwt:claim:auth_req_id"] == asked["auth_req_id"]
    digest = bank.digest(PAYMENT, agent.agent.client_id, person.sub)
    assert bank.use(answer["tokens"]["access_token"], digest).status_code == 201


def test_it_reads_the_no(running: subprocess.Popen[str], browser_of_person: Client) -> None:
    next_line(running)
    browser_of_person.post(f"/v1/prompts/{Prompt.objects.get().id}/deny")
    assert next_line(running) == {"error": "access_denied", "status": 400}

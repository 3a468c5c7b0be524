"""/metrics: one answer for all processes of a machine, and a bounded number of time series."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from django.test import Client
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from foundation.metrics import UNAUTHENTICATED
from runtime.processes import free_port
from tests.patience import until
from tests.support.web_server import ROOT, make_server, running
from tests.support.world import FORM

TOKEN = "a-token-for-the-scrape"
Samples = dict[tuple[str, ...], float]


def parsed(text: str) -> Samples:
    families = text_string_to_metric_families(text)
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


def answer(url: str) -> httpx.Response:
    """On a connection of its own, so that any of the workers may take it."""
    return httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)


def workers_of(pid: int) -> set[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(one) for one in children if b"granian" in Path(f"/proc/{one}/cmdline").read_bytes()}


def test_every_worker_answers_for_all_and_a_dead_one_is_counted(django_db_setup: None, tmp_path: Path) -> None:
    folder, port = tmp_path / "metrics", free_port()
    folder.mkdir()
    url = f"http://127.0.0.1:{port}"
    shared = {"METRICS_TOKEN": TOKEN, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    server = make_server(port, tmp_path, workers=2, **shared)

    def scrape() -> Samples:
        response = answer(f"{url}/metrics")
        assert response.status_code == 200
        return parsed(response.text)

    def files() -> list[Path]:
        return sorted(folder.glob("counter_*.db"))

    livez = ("countersign_protocol_answers_total", "200", "livez")
    with running(server, port):
        sent = 0
        while len(files()) < 2 or sent < 40:  # until both have counted
            assert answer(f"{url}/livez").status_code == 200
            sent += 1
        assert {scrape()[livez] for _ in range(12)} == {sent}

        # Another process of the machine: a sweeper or a worker.
        count = "from credentials.metrics import ALARMS; ALARMS.labels('orphan').inc()"
        setup = "import os, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'authserver.settings'; django.setup();"
        subprocess.run([sys.executable, "-c", setup + count], cwd=ROOT, env=os.environ | shared, check=True)
        assert scrape()["countersign_lease_alarms_total", "orphan"] == 1

        assert server.popen is not None
        supervisor = server.popen.pid
        before = workers_of(supervisor)
        os.kill(max(before), signal.SIGKILL)
        until(lambda: len(workers_of(supervisor) - before) == 1)
        until(lambda: answer(f"{url}/livez").status_code == 200)
        assert {scrape()[livez] >= sent + 1 for _ in range(12)} == {True}


def unauthenticated_calls() -> dict[tuple[str, ...], float]:
    """How many of each, by endpoint and error, in this process since its start."""
    samples = [sample for family in UNAUTHENTICATED.collect() for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name.endswith("_total")}


@pytest.mark.django_db
class TestLabels:
    def test_none_comes_from_a_request_or_an_error(self) -> None:
        http, before = Client(), unauthenticated_calls()
        for number in range(30):
            basic = {"Authorization": f"Basic {number}"}
            http.post(f"/oauth/token?x={number}", "grant_type=client_credentials", content_type=FORM, headers=basic)
            http.post(f"/oauth/token/?x={number}", f"client_id=agent{number}&grant_type=x", content_type=FORM)
            http.post(f"/oauth/introspect?{number}", f"token={number}", content_type=FORM, headers=basic)
            http.post("/v1/uses", {"token": str(number)}, content_type="application/json", headers=basic)
            http.get(f"/oidc/register/agent-{number}", headers={"Authorization": f"Bearer {number}"})
            http.get(f"/userinfo?{number}", headers={"Authorization": f"Bearer {number}"})
            http.get(f"/v1/leases/{number}", headers={"Authorization": f"Bearer {number}"})
        seen = {labels for labels, count in unauthenticated_calls().items() if count != before.get(labels)}
        assert {endpoint for endpoint, _ in seen} >= {"token", "introspect", "uses", "registration", "userinfo"}
        assert {error for _, error in seen} <= {
            "invalid_client",
            "invalid_token",
            "use_dpop_nonce",
            "invalid_request",
            "too_many_attempts",
        }
        assert not any("/" in endpoint for endpoint, _ in seen)

    def test_the_series_of_a_process_are_few(self) -> None:
        names = [sample.name for family in REGISTRY.collect() for sample in family.samples]
        assert len(names) < 400


@pytest.mark.django_db
def test_only_the_token_opens_it(settings: object) -> None:
    settings.METRICS_TOKEN = TOKEN  # type: ignore[attr-defined]
    for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer"}, {"Authorization": TOKEN}):
        assert Client().get("/metrics", headers=headers).status_code == 404
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    figures = parsed(response.content.decode())
    assert figures["countersign_outbox_oldest_overdue_seconds",] == 0
    settings.METRICS_TOKEN = ""  # type: ignore[attr-defined]
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404

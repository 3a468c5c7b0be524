"""The shipped alert rules and the dashboard name series that a process has from its first answer on."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from authserver import health
from credentials.metrics import ALARM_KINDS
from tests.deploy.conftest import ROOT, TOKEN, Production

DEPLOY = ROOT / "deploy"
NAME = re.compile(r"\bcountersign_\w+")
# Both ways of serving: with the folder that `manage.py up` sets, and each process for itself.
SCRAPE = """
import django; django.setup()
from django.test import Client
print(Client().get("/metrics", headers={"Authorization": "Bearer %s", "Host": "auth.example.com"}).content.decode())
"""


def rules() -> list[dict[str, Any]]:
    parsed = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())
    return [rule for group in parsed["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return parsed


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in dashboard()["panels"] for target in panel["targets"])


def documented() -> set[str]:
    documents = [ROOT / "docs" / "operations.md", *(ROOT / "docs" / "guides").glob("*.md")]
    names = {name for one in documents for name in NAME.findall(one.read_text())}
    return {name for name in names if name.startswith(("countersign_lease", "countersign_outbox", "countersign_un"))}


@pytest.fixture(scope="module", params=["one process", "a folder for all processes"])
def fresh(request: pytest.FixtureRequest, production: Production) -> list[Any]:
    """The samples of the first answer of a new process over a new database."""
    environment = production.environment | {"DJANGO_SETTINGS_MODULE": "authserver.settings"}
    if request.param != "one process":
        folder = production.folder / "metrics"
        folder.mkdir()
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    command = [sys.executable, "-c", SCRAPE % TOKEN]
    done = subprocess.run(command, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return [sample for family in text_string_to_metric_families(done.stdout) for sample in family.samples]


def test_rules_dashboard_and_documents_name_series_of_a_fresh_process(fresh: list[Any]) -> None:
    there = {sample.name for sample in fresh}
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(named) >= 8 and len(documented()) >= 4
    assert named - there == set()
    assert documented() - there == set()


def test_the_dashboard_shows_every_metric(fresh: list[Any]) -> None:
    panels = {name for panel in dashboard()["panels"] for one in panel["targets"] for name in NAME.findall(one["expr"])}
    ours = {sample.name for sample in fresh if sample.name.startswith("countersign_")}
    unused = {name for name in ours - panels if not name.endswith(("_created", "_sum"))}
    assert unused == set()


def test_a_fresh_process_has_each_state_and_kind_with_zero(fresh: list[Any]) -> None:
    values = {(one.name, *sorted(one.labels.items())): one.value for one in fresh}
    for kind in ALARM_KINDS:
        assert values["countersign_lease_alarms_total", ("kind", kind)] == 0
    assert values["countersign_leases", ("backend", ""), ("state", "stuck")] == 0
    assert values["countersign_leases_orphans", ("backend", "")] == 0


def test_labels_of_the_rules_exist(fresh: list[Any]) -> None:
    """A rule that selects by a label or a value that no series has never fires."""
    labels: dict[str, set[str]] = {}
    for sample in fresh:
        labels.setdefault(sample.name, set()).update(sample.labels)
    for expression in expressions():
        for name, selector in re.findall(r"(countersign_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", selector)) - {"job"} <= labels[name], expression
        grouped = re.search(r"by \(([^)]*)\)", expression)
        if grouped:
            (name,) = set(NAME.findall(expression))
            wanted = {one.strip() for one in grouped[1].split(",")} - {"instance"}
            assert wanted <= labels[name], expression


def test_each_rule_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_every_kind_of_alarm_is_known() -> None:
    """A kind that the code counts and the list lacks would appear with 1, without an increase."""
    sources = "".join(path.read_text() for path in (Path(health.__file__).parents[1] / "credentials").rglob("*.py"))
    assert set(re.findall(r"ALARMS\.labels\(\"([^\"]+)\"\)", sources)) == set(ALARM_KINDS)


@pytest.mark.django_db
def test_the_series_without_a_backend_goes_when_there_is_one(settings: Any, orders_backend_name: str) -> None:
    settings.METRICS_TOKEN = TOKEN
    text = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content.decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    named = {one.labels["backend"] for one in samples if one.name.startswith("countersign_leases")}
    assert named == {orders_backend_name}
    states = {one.labels["state"] for one in samples if one.name == "countersign_leases"}
    assert {"active", "revoking", "disabled", "stuck"} <= states and "revoked" not in states


@pytest.fixture
def orders_backend_name() -> str:
    from credentials.models import Backend

    return Backend.objects.create(name="Orders", engine="postgres", settings={}).name

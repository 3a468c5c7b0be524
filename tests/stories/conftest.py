"""A real browser, and the real product as `make run` starts it, on ports of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from runtime.postgres import delete_cluster
from runtime.processes import free_port
from tests.patience import PATIENCE, until
from tests.support.browser import MISSING, find_browser
from tests.support.push_service import PushService

ROOT = Path(__file__).resolve().parent.parent.parent
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser(django_db_setup: None) -> Iterator[Browser]:
    """Chromium. Without one the tests are skipped loudly, and in CI they fail.

    Playwright keeps an event loop in this thread, beside which Django refuses to touch the database: so the
    database is set up before, and the refusal is off until the browser has gone.
    """
    executable = find_browser()
    if executable is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING)
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Product:
    """A running `manage.py up --demo` with a data directory of its own."""

    data_dir: Path
    port: int
    password: str = "a password of the story"
    extra: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """As in a fresh terminal: nothing of the test run's own servers."""
        ours = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "COUNTERSIGN_TESTING", "LOG_LEVEL")
        stored = {name: value for name, value in os.environ.items() if name not in ours}
        own = {"DATA_DIR": str(self.data_dir), "PORT": str(self.port), "DEMO_PASSWORD": self.password}
        return stored | own | self.extra

    def start(self) -> None:
        log = (self.data_dir.parent / f"{self.data_dir.name}.log").open("a")
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "manage.py", "up", "--demo"],
            env=self.environment, cwd=ROOT, text=True, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        log.close()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until(self._is_ready, lambda: f"the product did not become ready: {self.output()}")

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=PATIENCE):
                return True
        except OSError:
            assert self.process and self.process.poll() is None, self.output()
            return False

    def output(self) -> str:
        return (self.data_dir.parent / f"{self.data_dir.name}.log").read_text()

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=PATIENCE)


@pytest.fixture(scope="session")
def push_service() -> Iterator[PushService]:
    service = PushService()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def product(push_service: PushService) -> Iterator[Product]:
    folder = Path(tempfile.mkdtemp(prefix="countersign-story-"))
    extra = {"OUTBOUND_EXCEPTIONS": push_service.authority}
    product = Product(folder / "data", free_port_pair(), extra=extra)
    try:
        product.start()
        yield product
    finally:
        product.stop()
        delete_cluster(product.data_dir)
        shutil.rmtree(folder)


def free_port_pair() -> int:
    """A free port whose next one is free too: the demo API listens there."""
    from runtime.processes import is_free

    while True:
        port = free_port()
        if is_free("127.0.0.1", port + 1):
            return port

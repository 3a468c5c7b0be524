"""The Chromium of the tests: CHROMIUM, else one on PATH, else Playwright's own.

`python -m tests.support.browser` downloads Playwright's where there is no other. `make test` runs it first.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = "There is no Chromium here: apt-get install chromium, or set CHROMIUM to one."
DOWNLOAD_TIMEOUT_S = 600


def find_browser() -> str | None:
    if given := os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None):
        return given
    with sync_playwright() as playwright:
        bundled = playwright.chromium.executable_path
    return bundled if Path(bundled).exists() else None


def main() -> None:
    if find_browser() is not None:
        return
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        subprocess.run(command, check=True, timeout=DOWNLOAD_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        print(f"Playwright could not download a browser, so the tests that need one cannot run. {MISSING}")  # noqa: T201


if __name__ == "__main__":
    main()

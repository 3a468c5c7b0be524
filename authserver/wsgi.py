"""The WSGI entry point that granian serves."""

import os
import time
from pathlib import Path

import django
from django.core.handlers.wsgi import WSGIHandler
from django.urls import get_resolver

from authserver.checks import refuse
from authserver.request import Request


class Handler(WSGIHandler):
    request_class = Request


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "authserver.settings")
django.setup(set_prefix=False)
application = Handler()
refuse()
_ = get_resolver().url_patterns  # now, so that the first request need not wait for it


def wait_for(path: Path) -> None:
    """Waits for `manage.py up`, which starts this process while it still prepares the database.

    Connections queue meanwhile.
    """
    while not path.exists():
        time.sleep(0.01)


if prepared := os.environ.get("COUNTERSIGN_PREPARED_FILE"):
    wait_for(Path(prepared))

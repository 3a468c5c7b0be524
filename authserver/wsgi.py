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
_ = get_resolver().url_patterns  # now, and not in somebody's first request


def wait_for(path: Path) -> None:
    """`manage.py up` starts us while it still prepares the database; connections queue until it has."""
    while not path.exists():
        time.sleep(0.01)


if prepared := os.environ.get("COUNTERSIGN_PREPARED_FILE"):
    wait_for(Path(prepared))

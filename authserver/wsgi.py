"""The WSGI entry point that granian serves."""

import os
import time
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.db import connections
from django.db.backends.signals import connection_created
from django.urls import get_resolver

from authserver.checks import refuse
from foundation.database_connections import allow_prepared


def keep_connections() -> None:
    """From now on each thread of this process keeps its database connection.

    The threads are few and always the same. To take a connection from a pool and give it back took
    longer than a query.
    """
    database = settings.DATABASES["default"]
    database.get("OPTIONS", {}).pop("pool", None)
    database["CONN_MAX_AGE"] = None
    connection_created.connect(_allow_prepared)


def _allow_prepared(connection: Any, **_: Any) -> None:
    allow_prepared(connection.connection)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "authserver.settings")
keep_connections()
django.setup(set_prefix=False)
refuse()
_ = get_resolver().url_patterns  # now, so that the first request need not wait for it
connections.close_all()  # those of the main thread, which answers no request

from authserver.handler import Handler  # noqa: E402 - needs Django

application = Handler()


def wait_for(path: Path) -> None:
    """Waits for `manage.py up`, which starts this process while it still prepares the database.

    Connections queue meanwhile.
    """
    while not path.exists():
        time.sleep(0.01)


if prepared := os.environ.get("COUNTERSIGN_PREPARED_FILE"):
    wait_for(Path(prepared))

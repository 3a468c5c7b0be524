"""Celery only makes sooner what PostgreSQL owes (foundation/outbox.py); nothing is lost without it.

`celery --app authserver.worker worker` runs it (worker.py). There is no beat, no result, and no task with an ETA.
"""

import logging
import os
import time
from typing import Any
from uuid import UUID

from celery import Celery
from celery.signals import setup_logging, worker_init
from kombu.exceptions import OperationalError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "authserver.settings")

from django.conf import settings

from foundation import outbox
from foundation.volatile import LEAVE_ALONE, TIMEOUT

log = logging.getLogger(__name__)

app = Celery("countersign")
app.conf.update(
    broker_url=settings.REDIS_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Whoever publishes has just committed somebody's request and must not wait for a Redis that hangs.
    broker_transport_options={
        "socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "max_retries": 1, "interval_start": 0,
        "connect_retries_timeout": TIMEOUT,
    },
    task_publish_retry=False,
    task_ignore_result=True,
    task_default_queue="countersign",
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)  # fmt: skip

_left_alone_until = 0.0


@worker_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _patient(**_: Any) -> None:
    """A worker waits for work, and for a Redis that comes back."""
    app.conf.broker_transport_options = {"health_check_interval": 10}


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_our_logging(**_: Any) -> None:
    """Django's settings have configured logging; Celery's own would replace it."""


@app.task(name="outbox.do")  # type: ignore[untyped-decorator]
def do_work(work_id: str) -> None:
    outbox.do(UUID(work_id))


def soon(work_id: UUID) -> None:
    """Asks a worker to do it now. Without Redis the sweeper does it, a second or two later."""
    global _left_alone_until
    if time.monotonic() < _left_alone_until:
        return
    try:
        # A task that nobody took meanwhile is worth nothing: the sweeper has done it.
        do_work.apply_async((str(work_id),), retry=False, expires=60)
    except OperationalError as error:
        _left_alone_until = time.monotonic() + LEAVE_ALONE
        log.warning("Redis cannot be asked; the sweeper does what is owed: %s", error)

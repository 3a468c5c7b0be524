"""Celery only reduces latency: the sweeper does the same work from PostgreSQL
(foundation/outbox.py), slightly later.

`celery --app authserver.worker worker` runs it (worker.py). There is no beat, no result, and no
task with an ETA.
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
from foundation.volatile import REDIS_TIMEOUT_S, RETRY_AFTER_FAILURE_S

log = logging.getLogger(__name__)

app = Celery("countersign")
app.conf.update(
    broker_url=settings.REDIS_URL,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # The publisher has just committed a request and must not wait for a Redis that hangs.
    broker_transport_options={
        "socket_timeout": REDIS_TIMEOUT_S,
        "socket_connect_timeout": REDIS_TIMEOUT_S,
        "max_retries": 1,
        "interval_start": 0,
        "connect_retries_timeout": REDIS_TIMEOUT_S,
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
    """Lets a worker wait for work, and for a Redis that comes back."""
    app.conf.broker_transport_options = {"health_check_interval": 10}


@setup_logging.connect  # type: ignore[untyped-decorator]
def _restore_logging(**_: Any) -> None:
    """Prevents Celery from replacing the logging that Django's settings have configured."""


@app.task(name="outbox.do")  # type: ignore[untyped-decorator]
def do_work(work_id: str) -> None:
    outbox.do(UUID(work_id))


def notify_worker(work_id: UUID) -> None:
    """Notifies a worker of new work.

    Without Redis the sweeper does the work a second or two later.
    """
    global _left_alone_until
    if time.monotonic() < _left_alone_until:
        return
    try:
        # An older task is useless: the sweeper has done the work meanwhile.
        do_work.apply_async((str(work_id),), retry=False, expires=60)
    except OperationalError as error:
        _left_alone_until = time.monotonic() + RETRY_AFTER_FAILURE_S
        log.warning("Redis is unreachable; the sweeper does the pending work: %s", error)

"""Where a crash is tried on purpose: before and after every call to a system, and every commit around it.

A process that runs with COUNTERSIGN_TESTING and COUNTERSIGN_FAULT=<point> kills itself there, as kill -9 would.
Anywhere else this does nothing.
"""

import os
import signal

from django.conf import settings

_at = os.environ.get("COUNTERSIGN_FAULT", "")


def fault_point(name: str) -> None:
    if _at == name and settings.TESTING:
        os.kill(os.getpid(), signal.SIGKILL)

"""The module that `celery --app authserver.worker worker` loads: Django first, because the app's
tasks need its models.

It is separate from celery.py, which Django itself imports while it starts (wiring.py).
"""

import os
import warnings

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "authserver.settings")
django.setup()

from authserver.checks import refuse  # noqa: E402 - needs the line above

refuse()

import pywebpush  # noqa: E402, F401 - half a second, spent now and not in the first push

from authserver.celery import app  # noqa: E402 - needs the line above

# A user who starts everything as root gets this advice from runtime/postgres.py.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

__all__ = ["app"]

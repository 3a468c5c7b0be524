"""What `celery --app authserver.worker worker` loads: Django first, because the app's tasks need its models.

Not in celery.py: that is also imported by Django itself, while it starts (wiring.py).
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

# Whoever starts everything as root is told so where it matters (servers/postgres.py).
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

__all__ = ["app"]

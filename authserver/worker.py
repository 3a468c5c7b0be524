"""What `celery --app authserver.worker worker` loads: Django first, because the app's tasks need its models.

Not in celery.py: that is also imported by Django itself, while it starts (wiring.py).
"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "authserver.settings")
django.setup()

from authserver.celery import app  # noqa: E402 - needs the line above

__all__ = ["app"]

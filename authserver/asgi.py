"""The ASGI entry point that granian serves: Django's WSGI handler behind the HTTP front (web)."""

import resource

from django.conf import settings

from authserver.wsgi import application as wsgi
from web.application import Front
from web.hub import Hub

RESERVED_FILE_DESCRIPTORS = 512  # file descriptors for everything except waiting clients


def raise_file_limit() -> int:
    """Raises the limit on file descriptors and returns the new one.

    Each waiting client holds a descriptor, and the usual limit is 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return hard


application = Front(
    wsgi,
    threads=settings.WEB_THREADS,
    queue=settings.WEB_QUEUE,
    max_parked=min(settings.WEB_WAITING, raise_file_limit() - RESERVED_FILE_DESCRIPTORS),
    max_body=settings.MAX_BODY_BYTES,
    make_hub=lambda pool: Hub(pool, settings.REDIS_URL),
)

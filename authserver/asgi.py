"""The ASGI entry point that granian serves: Django's WSGI handler behind the front (authserver/front)."""

import resource

from django.conf import settings

from authserver.front.application import Front
from authserver.front.hub import Hub
from authserver.wsgi import application as wsgi

RESERVED = 512  # file descriptors for everything that does not wait


def raise_file_limit() -> int:
    """Each client that waits holds a file descriptor, and the usual limit is 1,024. Answers the new one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return hard


application = Front(
    wsgi,
    threads=settings.WEB_THREADS,
    queue=settings.WEB_QUEUE,
    most_parked=min(settings.WEB_WAITING, raise_file_limit() - RESERVED),
    most_body=settings.MAX_BODY_BYTES,
    make_hub=lambda pool: Hub(pool, settings.REDIS_URL),
)

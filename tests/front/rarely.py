"""The product behind a front that practically never reads again by itself: what arrives there, a wake-up brought."""

from django.conf import settings

from authserver.front.application import Front
from authserver.front.hub import Hub
from authserver.wsgi import application as wsgi

LOOK_EVERY = 3600.0  # seconds

application = Front(
    wsgi,
    threads=settings.WEB_THREADS,
    queue=settings.WEB_QUEUE,
    most_parked=settings.WEB_WAITING,
    most_body=settings.MAX_BODY_BYTES,
    make_hub=lambda pool: Hub(pool, settings.REDIS_URL, LOOK_EVERY),
)

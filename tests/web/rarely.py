"""The product behind a front that practically never reads again by itself: what arrives there, a wake-up brought."""

from django.conf import settings

from authserver.wsgi import application as wsgi
from web.application import Front
from web.hub import Hub

RECHECK_INTERVAL_S = 3600.0  # seconds

application = Front(
    wsgi,
    threads=settings.WEB_THREADS,
    queue=settings.WEB_QUEUE,
    max_parked=settings.WEB_WAITING,
    max_body=settings.MAX_BODY_BYTES,
    make_hub=lambda pool: Hub(pool, settings.REDIS_URL, RECHECK_INTERVAL_S),
)

"""The settings with which no process starts, one sentence each (`manage.py check --deploy --tag
production`).
"""

import ssl
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import register as register_check
from django.core.exceptions import ImproperlyConfigured
from django.http.request import validate_host

TAG = "production"


def register() -> None:
    register_check(check_production, TAG, deploy=True)


def check_production(**_arguments: Any) -> list[CheckMessage]:
    return [Error(sentence, id=f"countersign.E{number:03}") for number, sentence in enumerate(problems(), 1)]


def _secret_key() -> str:
    try:
        return settings.SECRET_KEY
    except ImproperlyConfigured:  # Django raises this for an empty one
        return ""


def problems() -> list[str]:
    """The sentences for the current settings. The demo and tests may use unsafe settings."""
    is_production = not (settings.DEMO or settings.TESTING)
    found = find_contradictions() | (find_unsafe() if is_production else {})
    return [*settings.UNUSABLE, *(sentence for sentence, is_wrong in found.items() if is_wrong)]


def refuse() -> None:
    """Ends the process with one line per problem, without a traceback that would hide them."""
    if found := problems():
        raise SystemExit("\n".join(found))


def find_contradictions() -> dict[str, bool]:
    """Settings that cannot work, alone or together."""
    return {
        "CIBA_REQUEST_LIFETIME must not be longer than CIBA_REQUEST_LIFETIME_MAX.": (
            settings.REQUEST_LIFETIME > settings.REQUEST_LIFETIME_MAX
        ),
        "CIBA_POLL_INTERVAL must be shorter than CIBA_REQUEST_LIFETIME: otherwise each poll is late.": (
            settings.POLL_INTERVAL >= settings.REQUEST_LIFETIME
        ),
        "REGISTRATION_LIMIT must not be higher than REGISTRATION_LIMIT_TOTAL.": (
            settings.REGISTRATION_LIMIT > settings.REGISTRATION_LIMIT_TOTAL
        ),
        "MTLS_URL needs TRUSTED_PROXIES: only a proxy can report an agent's certificate.": (
            bool(settings.MTLS_URL) and not settings.TRUSTED_PROXIES
        ),
        "OUTBOUND_CA_FILE must be a readable file of CA certificates in PEM.": (
            bool(settings.OUTBOUND_CA_FILE) and not _is_ca_file(settings.OUTBOUND_CA_FILE)
        ),
    }


def find_unsafe() -> dict[str, bool]:
    """Settings that only the demo and tests may leave unsafe."""
    return {
        "ISSUER_URL must be an https URL.": not settings.ISSUER_IS_HTTPS,
        "SECRET_KEY must be set to at least 50 random characters.": (
            len(_secret_key()) < 50 or len(set(_secret_key())) < 5
        ),
        "KEY_ENCRYPTION_KEYS_FILE must name a file with a line `id:base64 of 32 random bytes`.": (
            not settings.KEY_ENCRYPTION_KEYS
        ),
        "ALLOWED_HOSTS must list the host names that this server answers to, and not `*`.": (
            not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS
        ),
        "ALLOWED_HOSTS must have the host of ISSUER_URL: otherwise users can open no page.": (
            not validate_host(_host_of(settings.ISSUER_URL), settings.ALLOWED_HOSTS)
        ),
        "DATABASE_URL must be set to PostgreSQL, as the application's role.": (
            "postgresql" not in settings.DATABASES["default"]["ENGINE"]
        ),
        "DATABASE_OWNER_URL must not be the application's role: that role could change the audit log.": (
            settings.DATABASES.get("owner", {}).get("USER") == settings.DATABASES["default"].get("USER")
            and "owner" in settings.DATABASES
        ),
        "MTLS_URL must be an https URL.": bool(settings.MTLS_URL) and not settings.MTLS_URL.startswith("https://"),
        "REDIS_URL must be set.": not settings.REDIS_URL,
        "REGISTRATION must be closed or token: with open, anybody can register an agent.": (
            settings.REGISTRATION not in ("closed", "token")
        ),
        "OUTBOUND_EXCEPTIONS is for the demo and tests: unset it.": bool(settings.OUTBOUND_EXCEPTIONS),
        "VAPID_SUBJECT must be set to a mailto: or https: address that push services can write to.": (
            not settings.VAPID_SUBJECT
        ),
    }


def _is_ca_file(path: str) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):  # SSLError is an OSError
        return False
    return True


def _host_of(origin: str) -> str:
    """The host as browsers send it in Host, without the port."""
    netloc = urlsplit(origin).netloc
    return netloc.rpartition(":")[0] if urlsplit(origin).port else netloc

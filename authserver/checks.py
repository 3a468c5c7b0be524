"""What production refuses to start with, one sentence each (`manage.py check --deploy --tag production`)."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import register as register_check
from django.core.exceptions import ImproperlyConfigured

TAG = "production"


def register() -> None:
    register_check(check_production, TAG, deploy=True)


def check_production(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    return [Error(sentence, id=f"countersign.E{number:03}") for number, sentence in enumerate(problems(), 1)]


def _secret_key() -> str:
    try:
        return settings.SECRET_KEY
    except ImproperlyConfigured:  # Django's own answer to an empty one
        return ""


def problems() -> list[str]:
    """The sentences, for the settings as they are; none in the demo and in tests."""
    if settings.DEMO or settings.TESTING:
        return []
    found = {
        "ISSUER_URL must be an https URL.": not settings.ISSUER_IS_HTTPS,
        "SECRET_KEY must be set to at least 50 random characters.": len(_secret_key()) < 50,
        "KEY_ENCRYPTION_KEYS_FILE must name a file with a line `id:base64 of 32 random bytes`.": (
            not settings.KEY_ENCRYPTION_KEYS
        ),
        "ALLOWED_HOSTS must list the host names that this server answers to, and not `*`.": (
            not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS
        ),
        "DATABASE_URL must be set to PostgreSQL, as the application's role.": (
            "postgresql" not in settings.DATABASES["default"]["ENGINE"]
        ),
        "DATABASE_OWNER_URL must not be the application's role: the audit trail would not be safe from it.": (
            settings.DATABASES.get("owner", {}).get("USER") == settings.DATABASES["default"].get("USER")
            and "owner" in settings.DATABASES
        ),
        "MTLS_URL must be an https URL.": bool(settings.MTLS_URL) and not settings.MTLS_URL.startswith("https://"),
        "MTLS_URL needs TRUSTED_PROXIES: it is they who tell an agent's certificate.": (
            bool(settings.MTLS_URL) and not settings.TRUSTED_PROXIES
        ),
        "REDIS_URL must be set.": not settings.REDIS_URL,
        "REGISTRATION must be closed or token: open registration lets anybody in.": (
            settings.REGISTRATION not in ("closed", "token")
        ),
        "OUTBOUND_EXCEPTIONS is for the demo and tests: unset it.": bool(settings.OUTBOUND_EXCEPTIONS),
        "VAPID_SUBJECT must be a mailto: or https: address that push services can write to.": (
            not settings.VAPID_SUBJECT.startswith(("mailto:", "https://"))
        ),
    }
    return [sentence for sentence, is_wrong in found.items() if is_wrong]

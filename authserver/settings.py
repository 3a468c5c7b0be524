"""Settings: every value comes from the environment. docs/settings.md lists them.

`manage.py up` starts embedded servers if DATABASE_URL or REDIS_URL is not set and writes their
addresses to DATA_DIR/run.env (0600), so that `manage.py` in a second terminal finds them. A
variable set by the user always wins.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
import environ

from authserver import addresses, demo
from authserver.environment import POSTGRESQL, REDIS, SMTP, Environment, read_email_url, read_redis_url
from authserver.keyfiles import demo_secret, read_key_encryption_keys, read_run_env
from clients import uris

django_stubs_ext.monkeypatch()  # ModelAdmin[...] and similar types also at run time

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(os.environ)
UNUSABLE = env.problems  # one sentence each; no process starts if there is any (apps.py)

DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / ".data"))).resolve()
UNUSABLE += read_run_env(DATA_DIR)

# Only `make run` sets DEMO: generated keys, random passwords, loopback.
DEMO = env.bool("DEMO", default=False)
# Tests use the demo's generated keys and not its seed.
TESTING = env.bool("COUNTERSIGN_TESTING", default=False)
DEBUG = False

PORT = env.int("PORT", default=8000, least=1, max_length=65535)
ISSUER_URL = env.origin("ISSUER_URL", default=f"http://localhost:{PORT}")
_issuer = urlsplit(ISSUER_URL)
ISSUER_IS_HTTPS = _issuer.scheme == "https"

SECRET_KEY = env.str("SECRET_KEY", default="")
KEY_ENCRYPTION_KEYS: dict[str, bytes] = {}
try:
    if DEMO or TESTING:
        SECRET_KEY = SECRET_KEY or demo_secret(DATA_DIR)
    KEY_ENCRYPTION_KEYS = read_key_encryption_keys(
        env.str("KEY_ENCRYPTION_KEYS_FILE", default=""), DATA_DIR if DEMO or TESTING else None
    )
except OSError as error:
    UNUSABLE.append(f"DATA_DIR {DATA_DIR} cannot be used: {error.strerror}.")
except ValueError as error:
    UNUSABLE.append(str(error))
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS",
    default=["localhost", "127.0.0.1", "[::1]", _issuer.hostname or ""] if DEMO or TESTING else [],
    problem_of=addresses.problem_with_host,
)
# Addresses of the reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are trusted.
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", problem_of=addresses.problem_with_proxy)
# The URL at which those proxies request a client certificate from agents (RFC 8705); may equal
# ISSUER_URL. Empty: no mutual TLS.
MTLS_URL = env.origin("MTLS_URL", default="")
METRICS_TOKEN = env.valid("METRICS_TOKEN", "", addresses.problem_with_token)
# The folder in which this machine's processes aggregate their metrics (foundation/metrics.py).
# prometheus-client reads the variable itself.
METRICS_FOLDER = env.str("PROMETHEUS_MULTIPROC_DIR") or None
if METRICS_FOLDER and not (Path(METRICS_FOLDER).is_dir() and os.access(METRICS_FOLDER, os.W_OK)):
    UNUSABLE.append("PROMETHEUS_MULTIPROC_DIR must be a directory that this process can write to.")
    METRICS_FOLDER = os.environ["PROMETHEUS_MULTIPROC_DIR"] = ""

INSTALLED_APPS = [
    # Before our own apps, which replace its admin classes.
    "django.contrib.auth",
    "oauth2_provider",
    "authserver.apps.AuthserverConfig",
    "ciba",
    "credentials",
    "devices",
    "oauth",
    "clients",
    "operations",
    "accounts",
    "audit",
    "foundation",
    "rest_framework",
    "drf_spectacular",
    "csp",
    "authserver.apps.CountersignAdminConfig",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

# Protocol paths pass only the first two; pages pass all (authserver/middleware.py).
MIDDLEWARE = [
    "authserver.middleware.Guard",
    "authserver.middleware.SecurityHeaders",
    "authserver.middleware.StaticFiles",
    "authserver.middleware.Sessions",
    "authserver.middleware.Csrf",
    "authserver.middleware.Authentication",
    "authserver.middleware.Messages",
    "authserver.middleware.ContentSecurityPolicy",
    "authserver.middleware.RefusedMethods",
]

ROOT_URLCONF = "authserver.urls"
APPEND_SLASH = False
WSGI_APPLICATION = "authserver.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "devices.context.push_key",
            ],
        },
    }
]

# Two roles on one database: "default" is the application, which may only append to the audit
# tables; "owner" migrates and is configured only where migrations run.
DATABASES: dict[str, Any] = {}
_pool_size = env.int("DATABASE_POOL_SIZE", default=16, least=1)
if _config := env.url("DATABASE_URL", POSTGRESQL, environ.Env.db_url_config):
    DATABASES["default"] = _config | {
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"pool": {"min_size": 1, "max_size": _pool_size, "timeout": 5}},
    }
else:
    DATABASES["default"] = {"ENGINE": "django.db.backends.dummy"}
if _config := env.url("DATABASE_OWNER_URL", POSTGRESQL, environ.Env.db_url_config):
    if env.is_given("DATABASE_URL"):
        DATABASES["owner"] = _config | {"TEST": {"MIRROR": None}}
    else:
        UNUSABLE.append("DATABASE_OWNER_URL is set without DATABASE_URL: set both, or none.")
ATOMIC_REQUESTS = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.url("REDIS_URL", REDIS, read_redis_url) or ""

# --- users and sessions
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
SESSION_ENGINE = "accounts.session_store"
SESSION_COOKIE_NAME = "__Host-session" if ISSUER_IS_HTTPS else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if ISSUER_IS_HTTPS else "csrf"
BROWSER_COOKIE_NAME = "__Host-browser" if ISSUER_IS_HTTPS else "browser"  # accounts/browsers.py
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ISSUER_IS_HTTPS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = env.seconds("SESSION_LIFETIME", default=12 * 3600)
CSRF_FAILURE_VIEW = "authserver.errors.csrf_failed"
CSRF_TRUSTED_ORIGINS = [ISSUER_URL] if ISSUER_IS_HTTPS else []
# A sign-in within this time (seconds) counts as assurance "session" (docs/settings.md).
SESSION_ASSURANCE_AGE = env.seconds("SESSION_ASSURANCE_AGE", default=15 * 60)
INVITATION_LIFETIME = 24 * 3600

# --- transport
SECURE_PROXY_SSL_HEADER = None
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 31_536_000 if ISSUER_IS_HTTPS else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
# --- one web process (web)
WEB_THREADS = env.int("WEB_THREADS", default=8, least=1, max_length=1000)
WEB_QUEUE = env.int("WEB_QUEUE", default=512)  # requests that may wait for a thread; further ones get 503
WEB_WAITING = env.int("WEB_WAITING", default=10_000)  # open inboxes and long polls
MAX_BODY_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# --- the protocol (lifetimes in seconds)
ACCESS_TOKEN_LIFETIME = env.seconds("ACCESS_TOKEN_LIFETIME", default=300)
# A code is redeemed at once; a consent page takes time to read; a consent expires by itself.
AUTHORIZATION_CODE_LIFETIME = 60
CONSENT_PAGE_LIFETIME = 600
GRANT_LIFETIME = env.seconds("GRANT_LIFETIME", default=90 * 86_400)
REFRESH_TOKEN_IDLE = env.seconds("REFRESH_TOKEN_IDLE", default=14 * 86_400)
REQUEST_LIFETIME = env.seconds("CIBA_REQUEST_LIFETIME", default=300)
REQUEST_LIFETIME_MAX = env.seconds("CIBA_REQUEST_LIFETIME_MAX", default=3600)
# The end of a request's lifetime is reserved for fetching a late answer; at most half of the
# lifetime.
TIME_TO_FETCH = env.seconds("CIBA_TIME_TO_FETCH", default=60, least=0)
POLL_INTERVAL = env.seconds("CIBA_POLL_INTERVAL", default=5)
# CIBA Core 7.2: an expired ID token may still name its user.
EXPIRED_ID_TOKEN_HINTS = env.bool("CIBA_EXPIRED_ID_TOKEN_HINTS", default=True)
MAX_PENDING_PER_USER = env.int("CIBA_MAX_PENDING_PER_USER", default=20, least=1)
# The agent cannot distinguish a user whom it may not ask from one who does not answer
# (docs/adr/0015).
HIDE_UNKNOWN_USERS = env.bool("CIBA_HIDE_UNKNOWN_USERS", default=False)
# Live leases over all roles, per agent (unless the agent has its own limit) and per user.
LEASES_MAX_PER_AGENT = env.int("LEASES_MAX_PER_AGENT", default=100)
LEASES_MAX_PER_USER = env.int("LEASES_MAX_PER_USER", default=100)
# A DPoP proof must carry a nonce of this server (RFC 9449 8), so that proofs cannot be made in
# advance.
DPOP_NONCE_REQUIRED = env.bool("DPOP_NONCE_REQUIRED", default=True)
# A new signing key is listed this long before it signs, so that resource servers have fetched it.
SIGNING_KEY_LEAD = env.seconds("SIGNING_KEY_LEAD", default=3600, least=0)

# --- self-registration of agents (clients/registration.py); closed in production by default
REGISTRATION = env.choice("REGISTRATION", "open" if DEMO else "closed", ("closed", "token", "open"))
REGISTRATION_SCOPES = env.list("REGISTRATION_SCOPES", default=[one["name"] for one in demo.SCOPES] if DEMO else [])
REGISTRATION_OPERATION_TYPES = env.list(
    "REGISTRATION_OPERATION_TYPES", default=list(demo.OPERATION_TYPES) if DEMO else []
)
REGISTRATION_USERS = env.list(
    "REGISTRATION_USERS",
    default=[demo.USER["email"]] if DEMO else [],
    problem_of=addresses.problem_with_mailbox,
)
REGISTRATION_SECRETS = env.bool("REGISTRATION_SECRETS", default=False)
# Schemes that redirect URIs of native public clients may have although they are not reversed domain
# names.
REGISTRATION_PRIVATE_USE_SCHEMES = env.list(
    "REGISTRATION_PRIVATE_USE_SCHEMES",
    default=["vscode", "vscode-insiders", "cursor"],
    problem_of=uris.problem_with_scheme,
)
REGISTRATION_LIMIT = env.int("REGISTRATION_LIMIT", default=20, least=1)
REGISTRATION_LIMIT_TOTAL = env.int("REGISTRATION_LIMIT_TOTAL", default=1000, least=1)
REGISTRATION_UNUSED_LIFETIME = env.seconds("REGISTRATION_UNUSED_LIFETIME", default=24 * 3600)
# Hosts whose Client ID Metadata Documents are accepted; * means any.
METADATA_DOCUMENT_HOSTS = env.list(
    "METADATA_DOCUMENT_HOSTS", default=["*"] if DEMO else [], problem_of=addresses.problem_with_exact_host
)

# --- outbound calls (foundation/outbound.py)
# Exact host:port pairs that URLs from agents or browsers may name although they are not public:
# those of the demo and of tests.
OUTBOUND_EXCEPTIONS = env.list("OUTBOUND_EXCEPTIONS", problem_of=addresses.problem_with_authority)
OUTBOUND_CA_FILE = env.str("OUTBOUND_CA_FILE", default="")  # trusted in addition to the system's

# --- notifying users
# The push services that browsers may name: host names, or `.suffix`, with or without the beginning
# of a path; `*` means any public one. Debian's and Ubuntu's Chromium names hosts such as
# jmt17.google.com.
PUSH_SERVICES = env.list(
    "PUSH_SERVICES",
    default=[
        "fcm.googleapis.com", ".google.com/fcm/send/", "updates.push.services.mozilla.com", ".push.apple.com",
        ".notify.windows.com",
    ],
    problem_of=addresses.problem_with_push_service,
)  # fmt: skip
# The contact for push services (RFC 8292 2.1): mailto: or https:.
VAPID_SUBJECT = env.valid(
    "VAPID_SUBJECT", "mailto:admin@example.com" if DEMO or TESTING else "", addresses.problem_with_subject
)
# A mail server enables the second channel. EMAIL_URL is smtp://, smtp+tls:// or smtp+ssl://.
if _config := env.url("EMAIL_URL", SMTP, read_email_url):
    vars().update(_config)
else:
    EMAIL_HOST = ""
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.valid("EMAIL_FROM", "countersign@localhost", addresses.problem_with_sender)

OAUTH2_PROVIDER_APPLICATION_MODEL = "clients.Agent"
OAUTH2_PROVIDER_GRANT_MODEL = "oauth.AuthorizationCode"
OAUTH2_PROVIDER_ACCESS_TOKEN_MODEL = "oauth.AccessToken"  # noqa: S105
OAUTH2_PROVIDER_REFRESH_TOKEN_MODEL = "oauth.RefreshToken"  # noqa: S105
OAUTH2_PROVIDER_ID_TOKEN_MODEL = "oauth.IDToken"  # noqa: S105

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "authserver.errors.api_exception_handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Countersign",
    "DESCRIPTION": "Management endpoints. The protocol endpoints are found through metadata.",
    "VERSION": "0.1.0",  # as in pyproject.toml
    "SERVE_INCLUDE_SCHEMA": False,
}

# --- other settings
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = ["authserver.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Where `collectstatic` wrote the files (the image does). Without it they are served from the source
# folders.
STATIC_ROOT = env.str("STATIC_ROOT") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False
SILENCED_SYSTEM_CHECKS: list[str] = []

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOGGING_CONFIG = "authserver.logs.configure"
LOGGING = {"level": env.choice("LOG_LEVEL", "INFO", LOG_LEVELS), "json": env.bool("LOG_JSON", default=not DEMO)}

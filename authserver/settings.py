"""Settings: every value comes from the environment. authserver/variables.py declares the variables.

`manage.py up` starts embedded servers if DATABASE_URL or REDIS_URL is not set and writes their
addresses to DATA_DIR/run.env (0600), so that `manage.py` in a second terminal finds them. A
variable set by the user always wins.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext

from authserver import demo, variables
from authserver.environment import Environment
from authserver.keyfiles import demo_secret, read_key_encryption_keys, read_run_env
from foundation.database_connections import PreparingConnection

django_stubs_ext.monkeypatch()  # ModelAdmin[...] and similar types also at run time

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(os.environ)
UNUSABLE = env.problems  # one sentence each; no process starts if there is any (apps.py)

DATA_DIR = Path(env.read(variables.DATA_DIR, str(BASE_DIR / ".data"))).resolve()
UNUSABLE += read_run_env(DATA_DIR)

# Only `make run` sets DEMO: generated keys, random passwords, loopback.
DEMO = env.read(variables.DEMO)
# Tests use the demo's generated keys and not its seed.
TESTING = env.read(variables.COUNTERSIGN_TESTING)
DEBUG = False

PORT = env.read(variables.PORT)
ISSUER_URL = env.read(variables.ISSUER_URL, f"http://localhost:{PORT}")
_issuer = urlsplit(ISSUER_URL)
ISSUER_IS_HTTPS = _issuer.scheme == "https"

SECRET_KEY = env.read(variables.SECRET_KEY)
KEY_ENCRYPTION_KEYS: dict[str, bytes] = {}
try:
    if DEMO or TESTING:
        SECRET_KEY = SECRET_KEY or demo_secret(DATA_DIR)
    KEY_ENCRYPTION_KEYS = read_key_encryption_keys(
        env.read(variables.KEY_ENCRYPTION_KEYS_FILE), DATA_DIR if DEMO or TESTING else None
    )
except OSError as error:
    UNUSABLE.append(f"DATA_DIR {DATA_DIR} cannot be used: {error.strerror}.")
except ValueError as error:
    UNUSABLE.append(str(error))
ALLOWED_HOSTS = env.read(
    variables.ALLOWED_HOSTS, ["localhost", "127.0.0.1", "[::1]", _issuer.hostname or ""] if DEMO or TESTING else None
)
TRUSTED_PROXIES = env.read(variables.TRUSTED_PROXIES)
MTLS_URL = env.read(variables.MTLS_URL)  # RFC 8705; empty: no mutual TLS
METRICS_TOKEN = env.read(variables.METRICS_TOKEN)
# The folder in which this machine's processes aggregate their metrics (foundation/metrics.py).
# prometheus-client reads the variable itself.
METRICS_FOLDER = env.read(variables.PROMETHEUS_MULTIPROC_DIR) or None
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
_pool_size = env.read(variables.DATABASE_POOL_SIZE)
if _config := env.read(variables.DATABASE_URL):
    DATABASES["default"] = _config | {
        "CONN_MAX_AGE": 0,
        # With those of the URL, for example sslmode and target_session_attrs.
        "OPTIONS": _config.get("OPTIONS", {})
        | {
            "pool": {
                "min_size": 1,
                "max_size": _pool_size,
                "timeout": 5,
                "connection_class": PreparingConnection,
            },
        },
    }
else:
    DATABASES["default"] = {"ENGINE": "django.db.backends.dummy"}
if _config := env.read(variables.DATABASE_OWNER_URL):
    if env.is_given(variables.DATABASE_URL):
        DATABASES["owner"] = _config | {"TEST": {"MIRROR": None}}
    else:
        UNUSABLE.append("DATABASE_OWNER_URL is set without DATABASE_URL: set both, or none.")
ATOMIC_REQUESTS = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.read(variables.REDIS_URL) or ""

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
SESSION_COOKIE_AGE = env.read(variables.SESSION_LIFETIME)
CSRF_FAILURE_VIEW = "authserver.errors.csrf_failed"
CSRF_TRUSTED_ORIGINS = [ISSUER_URL] if ISSUER_IS_HTTPS else []
SESSION_ASSURANCE_AGE = env.read(variables.SESSION_ASSURANCE_AGE)
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
WEB_THREADS = env.read(variables.WEB_THREADS)
WEB_QUEUE = env.read(variables.WEB_QUEUE)
WEB_WAITING = env.read(variables.WEB_WAITING)
MAX_BODY_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# --- the protocol (lifetimes in seconds)
ACCESS_TOKEN_LIFETIME = env.read(variables.ACCESS_TOKEN_LIFETIME)
# A code is redeemed at once; a consent page takes time to read; a consent expires by itself.
AUTHORIZATION_CODE_LIFETIME = 60
CONSENT_PAGE_LIFETIME = 600
GRANT_LIFETIME = env.read(variables.GRANT_LIFETIME)
REFRESH_TOKEN_IDLE = env.read(variables.REFRESH_TOKEN_IDLE)
REQUEST_LIFETIME = env.read(variables.CIBA_REQUEST_LIFETIME)
REQUEST_LIFETIME_MAX = env.read(variables.CIBA_REQUEST_LIFETIME_MAX)
TIME_TO_FETCH = env.read(variables.CIBA_TIME_TO_FETCH)
POLL_INTERVAL = env.read(variables.CIBA_POLL_INTERVAL)
EXPIRED_ID_TOKEN_HINTS = env.read(variables.CIBA_EXPIRED_ID_TOKEN_HINTS)
MAX_PENDING_PER_USER = env.read(variables.CIBA_MAX_PENDING_PER_USER)
HIDE_UNKNOWN_USERS = env.read(variables.CIBA_HIDE_UNKNOWN_USERS)
LEASES_MAX_PER_AGENT = env.read(variables.LEASES_MAX_PER_AGENT)
LEASES_MAX_PER_USER = env.read(variables.LEASES_MAX_PER_USER)
DPOP_NONCE_REQUIRED = env.read(variables.DPOP_NONCE_REQUIRED)
SIGNING_KEY_LEAD = env.read(variables.SIGNING_KEY_LEAD)

# --- self-registration of agents (clients/registration.py); closed in production by default
REGISTRATION = env.read(variables.REGISTRATION, "open" if DEMO else None)
REGISTRATION_SCOPES = env.read(variables.REGISTRATION_SCOPES, demo.names("scopes") if DEMO else None)
REGISTRATION_OPERATION_TYPES = env.read(
    variables.REGISTRATION_OPERATION_TYPES, demo.names("operation_types") if DEMO else None
)
REGISTRATION_USERS = env.read(variables.REGISTRATION_USERS, [demo.USER["email"]] if DEMO else None)
REGISTRATION_SECRETS = env.read(variables.REGISTRATION_SECRETS)
REGISTRATION_PRIVATE_USE_SCHEMES = env.read(variables.REGISTRATION_PRIVATE_USE_SCHEMES)
REGISTRATION_LIMIT = env.read(variables.REGISTRATION_LIMIT)
REGISTRATION_LIMIT_TOTAL = env.read(variables.REGISTRATION_LIMIT_TOTAL)
REGISTRATION_UNUSED_LIFETIME = env.read(variables.REGISTRATION_UNUSED_LIFETIME)
METADATA_DOCUMENT_HOSTS = env.read(variables.METADATA_DOCUMENT_HOSTS, ["*"] if DEMO else None)

# --- outbound calls (foundation/outbound.py)
OUTBOUND_EXCEPTIONS = env.read(variables.OUTBOUND_EXCEPTIONS)
OUTBOUND_CA_FILE = env.read(variables.OUTBOUND_CA_FILE)

# --- configuration files (authserver/configuration)
CONFIG_SECRETS_DIR = env.read(variables.CONFIG_SECRETS_DIR)

# --- notifying users
PUSH_SERVICES = env.read(variables.PUSH_SERVICES)
VAPID_SUBJECT = env.read(variables.VAPID_SUBJECT, "mailto:admin@example.com" if DEMO or TESTING else None)
if _config := env.read(variables.EMAIL_URL):
    vars().update(_config)
else:
    EMAIL_HOST = ""
EMAIL_TIMEOUT = 5
DEFAULT_FROM_EMAIL = env.read(variables.EMAIL_FROM)

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
    "DESCRIPTION": "The endpoints under /v1. Clients find the protocol endpoints through the server's metadata.",
    "VERSION": "0.1.0",  # as in pyproject.toml
    "SERVE_INCLUDE_SCHEMA": False,
    "OAS_VERSION": "3.1.0",  # its schemas are JSON Schema 2020-12
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "foundation.api_description.write_null_as_a_type",
    ],
}

# --- other settings
LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = ["authserver.formats"]
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = env.read(variables.STATIC_ROOT) or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False
SILENCED_SYSTEM_CHECKS: list[str] = []

LOGGING_CONFIG = "authserver.logs.configure"
LOGGING = {"level": env.read(variables.LOG_LEVEL), "json": env.read(variables.LOG_JSON, not DEMO)}

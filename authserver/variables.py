"""Every variable of the environment that Countersign reads, declared once, in the order of docs/settings.md.

authserver/settings.py, `manage.py up` and the demo read them by authserver/environment.py. `make docs`
writes docs/settings.md from them. A default that is computed has its `default_text`.
"""

from dataclasses import dataclass

import environ

from authserver import addresses
from authserver.environment import (
    Choice,
    Members,
    Number,
    Origin,
    Seconds,
    Switch,
    Text,
    Url,
    read_email_url,
    read_redis_url,
)
from clients import uris
from operations.lifetimes import MAX_TOKEN_LIFETIME_S


@dataclass(frozen=True)
class Section:
    """The heading of the variables below it."""

    title: str


_POSTGRESQL = ("postgres://", "postgresql://")

_SERVER = Section("Server")
ISSUER_URL = Origin(
    "ISSUER_URL", "", "The issuer, and the address under which users and agents reach the server: scheme, host and "
    "optionally a port, in lower case. Production requires https.", default_text="`http://localhost:$PORT`",
)  # fmt: skip
PORT = Number("PORT", 8000, "The port of the web process.", least=1, greatest=65535)
BIND_ADDRESS = Text(
    "BIND_ADDRESS", "0.0.0.0", "The address that the web process listens on.",  # noqa: S104
    form="an address", default_text="`0.0.0.0` (demo: always `127.0.0.1`)",
)  # fmt: skip
SECRET_KEY = Text("SECRET_KEY", "", "It signs sessions.", form="at least 50 random characters", default_text="required")
KEY_ENCRYPTION_KEYS_FILE = Text(
    "KEY_ENCRYPTION_KEYS_FILE", "", "The keys that encrypt secrets in the database. The file has lines `id:base64 of "
    "32 random bytes`. The first key encrypts, all keys decrypt.", form="a file", default_text="required",
)  # fmt: skip
ALLOWED_HOSTS = Members(
    "ALLOWED_HOSTS", (), "The host names under which users open the pages. One must be the host of `ISSUER_URL`.",
    form="host names", check=addresses.problem_with_host, default_text="required",
)  # fmt: skip
DATABASE_URL = Url(
    "DATABASE_URL", None, "The database, with the application's role.", _POSTGRESQL, environ.Env.db_url_config,
    default_text="embedded PostgreSQL; required in production",
)  # fmt: skip
DATABASE_OWNER_URL = Url(
    "DATABASE_OWNER_URL", None, "The database, with the owner's role. Only migrations and tests use it.",
    _POSTGRESQL, environ.Env.db_url_config, default_text="embedded PostgreSQL",
)  # fmt: skip
DATABASE_POOL_SIZE = Number(
    "DATABASE_POOL_SIZE", 16,
    "Database connections of a sweeper or worker, at most. A web process has one for each of its threads.", least=1,
)  # fmt: skip
REDIS_URL = Url(
    "REDIS_URL", None, "Redis, for the poll throttle, wake-ups and Celery's queue. It may be lost at any time.",
    ("redis://", "rediss://", "unix://"), read_redis_url, default_text="embedded Redis; required in production",
)  # fmt: skip
DATA_DIR = Text(
    "DATA_DIR", "", "The directory of the embedded servers, the demo's keys and run.env. Its mode is 0700.",
    form="a directory", default_text="`.data`",
)  # fmt: skip
STATIC_ROOT = Text(
    "STATIC_ROOT", "", "The directory into which `collectstatic` wrote the files of the pages. The image sets it. "
    "Without it the source directories are served.", form="a directory",
)  # fmt: skip
WEB_WORKERS = Number("WEB_WORKERS", 1, "Web processes on one port.", least=1, greatest=1000)
WEB_THREADS = Number("WEB_THREADS", 8, "Threads in each web process.", least=1, greatest=1000)
WEB_QUEUE = Number("WEB_QUEUE", 512, "Requests that may queue for a thread, per process. Further requests get 503.")
WEB_WAITING = Number("WEB_WAITING", 10_000, "Open inboxes and long polls that one process may hold.")
WORKER_THREADS = Number("WORKER_THREADS", 8, "Threads of a Celery worker.", least=1, greatest=1000)
METRICS_TOKEN = Text(
    "METRICS_TOKEN", "", "The bearer token for /metrics. Without it there is no /metrics.",
    form="printable ASCII without spaces", check=addresses.problem_with_token,
)  # fmt: skip
PROMETHEUS_MULTIPROC_DIR = Text(
    "PROMETHEUS_MULTIPROC_DIR", "", "The directory through which the processes of one machine share their counters "
    "([operations](operations.md#health)).", form="a writable directory",
    default_text="`DATA_DIR/metrics` under `manage.py up`",
)  # fmt: skip
LOG_LEVEL = Choice(
    "LOG_LEVEL", "INFO", "The lowest level that the log has.", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
)
LOG_JSON = Switch("LOG_JSON", True, "Whether the lines of the log are JSON.", default_text="on (demo: off)")

_NETWORK = Section("Proxies and outbound calls")
TRUSTED_PROXIES = Members(
    "TRUSTED_PROXIES", (), "The proxies. List every proxy of a chain. Countersign accepts X-Forwarded-For, "
    "X-Forwarded-Proto, Client-Cert and Client-Cert-Verify from these only. Do not list a network that contains "
    "clients: they could claim any address ([operations](operations.md#behind-a-proxy)).",
    form="addresses and networks", check=addresses.problem_with_proxy,
)  # fmt: skip
MTLS_URL = Origin(
    "MTLS_URL", "", "The address at which the proxy requests a TLS certificate from agents. It may be the "
    "`ISSUER_URL`. Setting it enables mutual TLS and needs `TRUSTED_PROXIES` ([operations](operations.md#mutual-tls)).",
)  # fmt: skip
OUTBOUND_CA_FILE = Text(
    "OUTBOUND_CA_FILE", "", "CA certificates for outbound calls, trusted in addition to the system's.",
    form="a file of certificates in PEM",
)  # fmt: skip
OUTBOUND_EXCEPTIONS = Members(
    "OUTBOUND_EXCEPTIONS", (), "Demo and tests only: servers on loopback that agents and browsers may name.",
    form="`host:port`", check=addresses.problem_with_authority,
)  # fmt: skip

_NEWS = Section("Push and mail")
VAPID_SUBJECT = Text(
    "VAPID_SUBJECT", "", "An address at which push services can reach you about this server (RFC 8292 2.1). Its host "
    "must not be local.", form="`mailto:…` or `https://…`", check=addresses.problem_with_subject,
    default_text="required",
)  # fmt: skip
PUSH_SERVICES = Members(
    # Debian's and Ubuntu's Chromium names hosts such as jmt17.google.com.
    "PUSH_SERVICES", ("fcm.googleapis.com", ".google.com/fcm/send/", "updates.push.services.mozilla.com",
                      ".push.apple.com", ".notify.windows.com"),
    "Hosts that browsers may name as their push service. `.example.com` allows every host below it. "
    "`.example.com/push/` also requires that the path begins like this. `*` allows any public host.",
    form="host names", check=addresses.problem_with_push_service,
    default_text="those of Google, Mozilla, Apple and Microsoft",
)  # fmt: skip
EMAIL_URL = Url(
    "EMAIL_URL", None, "A mail server, such as `smtp+tls://user:password@host:587`. If no device of a user is reached "
    "within 20 s, the user gets a mail that tells them to look. Without it no mail is sent.",
    ("smtp://", "smtp+tls://", "smtp+ssl://"), read_email_url,
)  # fmt: skip
EMAIL_FROM = Text(
    "EMAIL_FROM", "countersign@localhost", "The sender's address of these mails.", form="an e-mail address",
    check=addresses.problem_with_sender,
)  # fmt: skip

_LIFETIMES = Section("Sessions and tokens")
SESSION_LIFETIME = Seconds("SESSION_LIFETIME", 12 * 3600, "Time until a sign-in ends.")
SESSION_ASSURANCE_AGE = Seconds(
    "SESSION_ASSURANCE_AGE", 15 * 60, "Time for which a sign-in counts as assurance `session`. After that, the user "
    "must sign in again to approve.",
)  # fmt: skip
ACCESS_TOKEN_LIFETIME = Seconds(
    "ACCESS_TOKEN_LIFETIME", 300, "Time for which an access token is valid. If the token is for an operation type, the "
    "type's own lifetime applies.", greatest=MAX_TOKEN_LIFETIME_S,
)  # fmt: skip
GRANT_LIFETIME = Seconds(
    "GRANT_LIFETIME", 90 * 86_400, "Time until a browser consent ends (90 days). No refresh token outlives it."
)
REFRESH_TOKEN_IDLE = Seconds(
    "REFRESH_TOKEN_IDLE", 14 * 86_400, "Time after which an unused refresh token is refused (14 days)."
)
DPOP_NONCE_REQUIRED = Switch(
    "DPOP_NONCE_REQUIRED", True, "A DPoP proof must carry the nonce from the `DPoP-Nonce` header of an earlier "
    "response (RFC 9449 8; valid for one to two minutes). If off, Countersign checks a nonce only if the proof carries "
    "one.",
)  # fmt: skip
SIGNING_KEY_LEAD = Seconds(
    "SIGNING_KEY_LEAD", 3600, "Time for which the JWKS lists a new signing key before it signs, so that resource "
    "servers have fetched it.", least=0,
)  # fmt: skip

_CIBA = Section("CIBA")
CIBA_REQUEST_LIFETIME = Seconds("CIBA_REQUEST_LIFETIME", 300, "Time for which a request is valid.")
CIBA_REQUEST_LIFETIME_MAX = Seconds("CIBA_REQUEST_LIFETIME_MAX", 3600, "The maximum for `requested_expiry`.")
CIBA_TIME_TO_FETCH = Seconds(
    "CIBA_TIME_TO_FETCH", 60, "The end of a request's lifetime in which the agent can still fetch a late approval. It "
    "is at most half of the lifetime. The prompt closes when it begins.", least=0,
)  # fmt: skip
CIBA_POLL_INTERVAL = Seconds("CIBA_POLL_INTERVAL", 5, "Time between polls.")
CIBA_EXPIRED_ID_TOKEN_HINTS = Switch(
    "CIBA_EXPIRED_ID_TOKEN_HINTS", True, "An expired ID token may still name its user as `id_token_hint` (CIBA Core "
    "7.2).",
)  # fmt: skip
CIBA_MAX_PENDING_PER_USER = Number(
    "CIBA_MAX_PENDING_PER_USER", 20, "Unanswered requests of one agent to one user.", least=1
)
CIBA_HIDE_UNKNOWN_USERS = Switch(
    "CIBA_HIDE_UNKNOWN_USERS", False, "Agents cannot find out who exists ([ADR 0015](adr/0015-hidden-users.md)). In "
    "place of `unknown_user_id`, an error about the user_code, or a refusal because too many requests are pending, the "
    "agent gets an ordinary acknowledgement. No one sees the request, and it expires. /bc-authorize and /oauth/revoke "
    "answer at multiples of 100 ms. Pushes leave a second or two later. CIBA Core 13 does not specify this, so turn it "
    "off for conformance tests.",
)  # fmt: skip

_LEASES = Section("Leases")
LEASES_MAX_PER_AGENT = Number(
    "LEASES_MAX_PER_AGENT", 100, "Leases of one agent at a time, over all roles. An agent's page in the administration "
    "may set another number for the agent. A role and a backend have limits of their own.",
)  # fmt: skip
LEASES_MAX_PER_USER = Number("LEASES_MAX_PER_USER", 100, "Leases in the name of one user at a time, over all roles.")

_REGISTRATION = Section("Registration of agents")
REGISTRATION = Choice(
    "REGISTRATION", "closed", "Whether agents may register themselves: none, those with an initial access token from "
    "an administrator, or all. Production refuses `open`.", ("closed", "token", "open"),
    default_text="closed (demo: open)",
)  # fmt: skip
REGISTRATION_SCOPES = Members(
    "REGISTRATION_SCOPES", (), "The scopes that an agent that registered itself may ask for.", form="scopes",
    default_text="empty (demo: all of the demo's)",
)  # fmt: skip
REGISTRATION_OPERATION_TYPES = Members(
    "REGISTRATION_OPERATION_TYPES", (), "The operation types that such an agent may ask for. An operation type whose "
    "name contains a comma cannot be listed here.", form="operation types",
    default_text="empty (demo: all of the demo's)",
)  # fmt: skip
REGISTRATION_USERS = Members(
    "REGISTRATION_USERS", (), "The users whom such an agent may ask.", form="e-mail addresses",
    check=addresses.problem_with_mailbox, default_text="empty (demo: the demo's user)",
)  # fmt: skip
REGISTRATION_SECRETS = Switch(
    "REGISTRATION_SECRETS", False, "Whether an agent that registered itself may have a static client secret."
)
REGISTRATION_PRIVATE_USE_SCHEMES = Members(
    "REGISTRATION_PRIVATE_USE_SCHEMES", ("vscode", "vscode-insiders", "cursor"), "Schemes without a dot that redirect "
    "URIs of native public clients may have. Schemes that a browser or an operating system handles are refused. A "
    "scheme such as `com.example.app` needs no entry.", form="schemes", check=uris.problem_with_scheme,
)  # fmt: skip
REGISTRATION_LIMIT = Number(
    "REGISTRATION_LIMIT", 20, "Registrations and fetches of metadata documents per hour from one address (IPv6: from "
    "one /64).", least=1,
)  # fmt: skip
REGISTRATION_LIMIT_TOTAL = Number(
    "REGISTRATION_LIMIT_TOTAL", 1000, "Registrations per hour in total. Fetches of metadata documents count apart, "
    "per host.", least=1,
)  # fmt: skip
REGISTRATION_UNUSED_LIFETIME = Seconds(
    "REGISTRATION_UNUSED_LIFETIME", 24 * 3600, "Time after which an unused registration is deleted."
)
METADATA_DOCUMENT_HOSTS = Members(
    "METADATA_DOCUMENT_HOSTS", (), "Hosts whose Client ID Metadata Documents are accepted. `*` allows any public host.",
    form="host names", check=addresses.problem_with_exact_host, default_text="empty (demo: `*`)",
)  # fmt: skip

_CONFIGURATION = Section("Configuration files")
CONFIG_SECRETS_DIR = Text(
    "CONFIG_SECRETS_DIR", "", "The directory whose files a configuration file may name as secrets "
    "([configuration](config.md#secrets)). Only `manage.py apply_config` reads it.", form="a directory",
)  # fmt: skip

_DEMO = Section("Demo and tests")
DEMO = Switch(
    "DEMO", False, "`make run` sets it: generated keys, random passwords, loopback only. Never set it in production."
)
DEMO_PASSWORD = Text(
    "DEMO_PASSWORD", "", "Demo only: the password of demo@example.com and admin@example.com.",
    default_text="random, printed once",
)  # fmt: skip
DEMO_ALLOW_PUBLIC = Text(
    "DEMO_ALLOW_PUBLIC", "", "Demo only: allows an `ISSUER_URL` that others can reach.", form="`1`"
)
DEMO_API_PORT = Number(
    "DEMO_API_PORT", 0, "Demo only: the port of the demo API.", least=1, greatest=65535, default_text="`PORT` + 1"
)
COUNTERSIGN_TESTING = Switch(
    "COUNTERSIGN_TESTING", False, "Tests and checks only: the demo's generated keys without the demo."
)
CHROMIUM = Text("CHROMIUM", "", "Tests only: the browser.", form="a program", default_text="found on `PATH`")

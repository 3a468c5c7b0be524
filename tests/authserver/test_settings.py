"""Every setting refuses what cannot work: one plain sentence each, and never a traceback."""

import base64
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings

from authserver import checks
from authserver.addresses import problem_with_origin

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = {
    "ISSUER_URL": "https://auth.example.com",
    "SECRET_KEY": "b7Xw-2kQmP9rT4vY8zA1cE6gH3jL5nS0uW_dFiKoRxBqCyNtVe",
    "ALLOWED_HOSTS": "auth.example.com",
    "DATABASE_URL": "postgres://app:secret-word@db.example.com/countersign",
    "DATABASE_OWNER_URL": "postgres://owner:secret-word@db.example.com/countersign",
    "REDIS_URL": "rediss://:secret-word@redis.example.com:6379/0",
    "VAPID_SUBJECT": "mailto:ops@company.com",
}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "key-file"
    path.write_text(f"k1:{base64.b64encode(bytes(32)).decode()}\n")
    return path


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: Path) -> Any:
    """The sentences of a start with these variables, in production where nothing else is said."""

    def find(**variables: str) -> list[str]:
        for name in set(os.environ) - {"PATH", "HOME"}:
            monkeypatch.delenv(name)
        given = GOOD | {"DATA_DIR": str(tmp_path), "KEY_ENCRYPTION_KEYS_FILE": str(keys)} | variables
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        read = SimpleNamespace(**runpy.run_path(str(ROOT / "authserver" / "settings.py")))
        monkeypatch.setattr(checks, "settings", read)
        return checks.problems()

    return find


def test_good_settings_start(problems: Any) -> None:
    assert problems() == []


def test_the_options_of_the_database_s_url_count(problems: Any) -> None:
    """Without them, a connection that the operator wants encrypted and verified would be neither."""
    url = GOOD["DATABASE_URL"] + "?sslmode=verify-full&target_session_attrs=read-write"
    assert problems(DATABASE_URL=url) == []
    options = checks.settings.DATABASES["default"]["OPTIONS"]
    assert (options["sslmode"], options["target_session_attrs"]) == ("verify-full", "read-write")
    assert options["pool"]["max_size"] > 1


WRONG = [
    ("PORT", ["0", "65536", "-1", "http", "80.5", "8_000", "\u0668\u0660"], "PORT must be a whole number"),
    ("ISSUER_URL", ["auth.example.com", "ftp://auth.example.com", "https://", "https://auth.example.com/auth",
                    "https://auth.example.com?a=b", "https://auth.example.com#a", "https://Auth.example.com",
                    "HTTPS://auth.example.com", "https://me@auth.example.com", "https://auth.example.com:443",
                    "https://auth.example.com:port", "https://[::1", "https://auth_1.example.com", "https://b\u00fccher.de",
                    "https://auth example.com", "https://auth.example.com\\a", "https://1.2.3.400", "https://a..b"],
     "ISSUER_URL must look like https://auth.example.com: "),
    ("ISSUER_URL", ["http://auth.example.com"], "ISSUER_URL must be an https URL."),
    ("ISSUER_URL", ["https://other.example.com"], "ALLOWED_HOSTS must have the host of ISSUER_URL"),
    ("SECRET_KEY", ["", "short", "x" * 60], "SECRET_KEY must be set to at least 50 random characters."),
    ("ALLOWED_HOSTS", ["", "*", "auth.example.com,*"], "ALLOWED_HOSTS must list the host names"),
    ("ALLOWED_HOSTS", ["auth.example.com,https://auth.example.com", "auth.example.com,auth.example.com:8000",
                       "auth.example.com,auth.example.com/a", "auth.example.com auth.example.org"],
     "ALLOWED_HOSTS has '"),
    ("DATABASE_URL", ["", "sqlite:///secret-word"], "DATABASE_URL must be"),
    ("DATABASE_URL", ["nonsense:secret-word", "postgres://app:secret-word@db:port/x", "postgres://[::1/secret-word",
                      "mysql://app:secret-word@db/x"], "DATABASE_URL must be a valid URL that begins with postgres://"),
    ("DATABASE_OWNER_URL", ["nonsense:secret-word", "postgres://app:secret-word@db:port/x", "redis://secret-word"],
     "DATABASE_OWNER_URL must be a valid URL that begins with postgres://"),
    ("DATABASE_OWNER_URL", [GOOD["DATABASE_URL"]], "DATABASE_OWNER_URL must not be the application's role"),
    ("DATABASE_POOL_SIZE", ["0", "-5", "many"], "DATABASE_POOL_SIZE must be a whole number from 1"),
    ("REDIS_URL", [""], "REDIS_URL must be set."),
    ("REDIS_URL", ["localhost:6379", "http://secret-word", "redis://localhost:port"], "REDIS_URL must be a valid URL"),
    ("WEB_THREADS", ["0", "-1", "eight"], "WEB_THREADS must be a whole number from 1"),
    ("WEB_QUEUE", ["-1", "x"], "WEB_QUEUE must be a whole number from 0"),
    ("WEB_WAITING", ["-1", "1e4"], "WEB_WAITING must be a whole number from 0"),
    ("TRUSTED_PROXIES", ["proxy.example.com", "10.0.0.300", "10.0.0.0/33", "*"], "TRUSTED_PROXIES has '"),
    ("TRUSTED_PROXIES", ["10.0.0.5/8"], "but the network that holds this address is 10.0.0.0/8."),
    ("TRUSTED_PROXIES", ["0.0.0.0/0", "::/0", "::ffff:0:0/96"], "but then anybody could send a false address."),
    ("MTLS_URL", ["mtls.example.com", "https://mtls.example.com/agents", "https://MTLS.example.com"],
     "MTLS_URL must look like"),
    ("MTLS_URL", ["http://mtls.example.com"], "MTLS_URL must be an https URL."),
    ("MTLS_URL", ["https://mtls.example.com"], "MTLS_URL needs TRUSTED_PROXIES"),
    ("VAPID_SUBJECT", [""], "VAPID_SUBJECT must be set"),
    ("VAPID_SUBJECT", ["mailto:", "mailto:ops", "mailto:ops@localhost", "mailto:ops@host.local", "mailto:@company.com",
                       "mailto:<ops@company.com>", "mailto: ops@company.com", "https://", "https://localhost",
                       "https://10.0.0.1", "https://[::1]", "http://company.com", "ops@company.com", "tel:1",
                       "https://company.example", "https://[", "mailto:ops@company.com,it@company.com"],
     "VAPID_SUBJECT cannot be used: push services must be able to write to it"),
    ("PUSH_SERVICES", ["https://fcm.googleapis.com", "fcm.googleapis.com:443", "fcm googleapis com", ".google.com/../x",
                       ".google.com/a%2fb", "*.google.com", "Fcm.googleapis.com"], "PUSH_SERVICES has '"),
    ("EMAIL_URL", ["localhost", "smtp://", "http://secret-word@mail", "smtp://mail:port", "smtp+tls://u:secret-word@[::1"],
     "EMAIL_URL must be a valid URL that begins with smtp://"),
    ("EMAIL_FROM", ["countersign", "a@b@c d", "Countersign <>", "@company.com"], "EMAIL_FROM cannot be used"),
    ("OUTBOUND_CA_FILE", ["/nonexistent", "/", "/etc/passwd"], "OUTBOUND_CA_FILE must be a readable file"),
    ("OUTBOUND_EXCEPTIONS", ["127.0.0.1:8001"], "OUTBOUND_EXCEPTIONS is for the demo and tests"),
    ("OUTBOUND_EXCEPTIONS", ["127.0.0.1", "http://a:80", "127.0.0.1:0", "a:x"], "OUTBOUND_EXCEPTIONS has '"),
    ("PROMETHEUS_MULTIPROC_DIR", ["/nonexistent", "/proc/self/mem"], "PROMETHEUS_MULTIPROC_DIR must be a directory"),
    ("METRICS_TOKEN", ["two words", "t\u00f6ken", "a\tb"], "METRICS_TOKEN cannot be used"),
    *[(name, ["0", "-1", "9" * 10, "9" * 5000, "one hour", "3600s"], f"{name} must be a whole number from 1")
      for name in ("SESSION_LIFETIME", "SESSION_ASSURANCE_AGE", "ACCESS_TOKEN_LIFETIME", "GRANT_LIFETIME",
                   "REFRESH_TOKEN_IDLE", "CIBA_REQUEST_LIFETIME", "CIBA_REQUEST_LIFETIME_MAX", "CIBA_POLL_INTERVAL",
                   "REGISTRATION_UNUSED_LIFETIME")],
    *[(name, ["maybe", "ture", "2", "-"], f"{name} must be on or off.")
      for name in ("DPOP_NONCE_REQUIRED", "CIBA_EXPIRED_ID_TOKEN_HINTS", "CIBA_HIDE_UNKNOWN_USERS",
                   "REGISTRATION_SECRETS", "LOG_JSON", "DEMO", "COUNTERSIGN_TESTING")],
    ("ACCESS_TOKEN_LIFETIME", ["86401"], "ACCESS_TOKEN_LIFETIME must be a whole number from 1 to 86400"),
    ("CIBA_REQUEST_LIFETIME", ["3601"], "CIBA_REQUEST_LIFETIME must not be longer than CIBA_REQUEST_LIFETIME_MAX."),
    ("CIBA_POLL_INTERVAL", ["300"], "CIBA_POLL_INTERVAL must be shorter than CIBA_REQUEST_LIFETIME"),
    ("CIBA_MAX_PENDING_PER_USER", ["0", "-1"], "CIBA_MAX_PENDING_PER_USER must be a whole number from 1"),
    ("LEASES_MAX_PER_AGENT", ["-1", "x"], "LEASES_MAX_PER_AGENT must be a whole number from 0"),
    ("LEASES_MAX_PER_USER", ["-1", "x"], "LEASES_MAX_PER_USER must be a whole number from 0"),
    ("SIGNING_KEY_LEAD", ["-1", "x"], "SIGNING_KEY_LEAD must be a whole number from 0"),
    ("CIBA_TIME_TO_FETCH", ["-1", "x"], "CIBA_TIME_TO_FETCH must be a whole number from 0"),
    ("REGISTRATION", ["opne", "Open", "yes"], "REGISTRATION must be one of closed, token, open."),
    ("REGISTRATION", ["open"], "REGISTRATION must be closed or token"),
    ("REGISTRATION_USERS", ["pat", "pat@", "@company.com", "a@b.com c@b.com"], "REGISTRATION_USERS has '"),
    ("REGISTRATION_PRIVATE_USE_SCHEMES", ["javascript", "vscode,data", "file", "ms-settings", "intent", "mailto"],
     "browsers or operating systems handle this scheme"),
    ("REGISTRATION_PRIVATE_USE_SCHEMES", ["VSCode", "vscode:", "com.example.app", "*"],
     "REGISTRATION_PRIVATE_USE_SCHEMES has '"),
    ("REGISTRATION_LIMIT", ["0", "x"], "REGISTRATION_LIMIT must be a whole number from 1"),
    ("REGISTRATION_LIMIT", ["1001"], "REGISTRATION_LIMIT must not be higher than REGISTRATION_LIMIT_TOTAL."),
    ("REGISTRATION_LIMIT_TOTAL", ["0", "x"], "REGISTRATION_LIMIT_TOTAL must be a whole number from 1"),
    ("METADATA_DOCUMENT_HOSTS", ["https://agents.example.com", "agents.example.com/a", "*.example.com"],
     "METADATA_DOCUMENT_HOSTS has '"),
    ("LOG_LEVEL", ["loud", "info", "10"], "LOG_LEVEL must be one of DEBUG"),
    ("KEY_ENCRYPTION_KEYS_FILE", [""], "KEY_ENCRYPTION_KEYS_FILE must name a file"),
    ("KEY_ENCRYPTION_KEYS_FILE", ["/nonexistent", "/", "/proc/self/mem"], "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        pytest.param(name, value, sentence, id=f"{name}={value[:40]}")
        for name, values, sentence in WRONG
        for value in values
    ],
)
def test_what_cannot_work_is_one_sentence(problems: Any, name: str, value: str, sentence: str) -> None:
    found = problems(**{name: value})
    assert any(sentence in one for one in found), found
    assert all(re.fullmatch(r"[^\n]+\.", one) for one in found)
    assert "secret-word" not in " ".join(found), "a password must not reach the log"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ISSUER_URL", ["https://auth.example.com/", "https://auth.example.com:8443"]),
        ("ALLOWED_HOSTS", [" auth.example.com , a.example.com", ".example.com", "auth.example.com,[::1],127.0.0.1"]),
        ("TRUSTED_PROXIES", ["", "10.0.0.5, fd00::/8", "::ffff:10.0.0.0/104"]),
        ("VAPID_SUBJECT", ["mailto:first.last+push@mail.company.co.uk", "https://company.com/contact?about=push"]),
        ("PUSH_SERVICES", ["", "*", "push.company.com, .company.com, .company.com/push/"]),
        ("EMAIL_URL", ["smtp+tls://user:pa%40ss@mail.company.com:587", "smtp://localhost"]),
        ("EMAIL_FROM", ["ops@company.com", "Countersign <ops@company.com>", "countersign@localhost"]),
        ("DPOP_NONCE_REQUIRED", ["off", "ON", "True", "0", ""]),
        ("PORT", ["", " 8001 "]),
        ("SIGNING_KEY_LEAD", ["0"]),
        ("REDIS_URL", ["unix:///run/redis.sock?db=1", "redis://127.0.0.1:6379/0"]),
        ("DATABASE_OWNER_URL", [""]),
        ("METADATA_DOCUMENT_HOSTS", ["*", "agents.example.com"]),
        ("REGISTRATION", ["token"]),
    ],
)  # fmt: skip
def test_what_works_is_taken(problems: Any, name: str, values: list[str]) -> None:
    assert {value: problems(**{name: value}) for value in values} == {value: [] for value in values}


def test_each_key_file_that_cannot_be_read_says_why(problems: Any, tmp_path: Path) -> None:
    key = base64.b64encode(bytes(32)).decode()
    path = tmp_path / "other"
    for content, sentence in (
        (b"k1", "must have lines"),
        (b"k1:AAAA", "must have lines"),
        (f"k 1:{key}".encode(), "must have lines"),
        (f"k1:{key}\nk1:{key}".encode(), "has two keys with the id k1"),
        (b"\xff\xfe", "it is not text in UTF-8"),
        (b"\n", "must name a file"),
    ):
        path.write_bytes(content)
        assert sentence in " ".join(problems(KEY_ENCRYPTION_KEYS_FILE=str(path))), content


def test_every_problem_is_reported_at_once(problems: Any) -> None:
    assert len(problems(PORT="x", REDIS_URL="", REGISTRATION="opne", ISSUER_URL="http://a/b")) >= 4


@pytest.mark.parametrize("how", ["DEMO", "COUNTERSIGN_TESTING"])
def test_the_demo_and_tests_do_without_what_production_needs_but_refuse_what_cannot_work(
    problems: Any, how: str
) -> None:
    assert problems(**{how: "1", "ISSUER_URL": "", "SECRET_KEY": "", "ALLOWED_HOSTS": "", "VAPID_SUBJECT": ""}) == []
    assert problems(**{how: "1", "ISSUER_URL": "http://localhost:8000/a"}) != []


@pytest.mark.parametrize("how", ["DEMO", "COUNTERSIGN_TESTING"])
@pytest.mark.parametrize("folder", ["/proc/nothing", "/dev/null", "/dev/null/x"])
def test_a_folder_in_which_the_demo_cannot_keep_its_keys(problems: Any, how: str, folder: str) -> None:
    variables = {how: "1", "DATA_DIR": folder, "SECRET_KEY": "", "KEY_ENCRYPTION_KEYS_FILE": ""}
    assert all(one.startswith("DATA_DIR") for one in problems(**variables)) and problems(**variables)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["manage.py", "sweeper", "--once"], id="sweeper"),
        pytest.param(["manage.py", "rotate_keys"], id="another command"),
        pytest.param(["-c", "import authserver.worker"], id="worker"),
        pytest.param(["-c", "import authserver.asgi"], id="web"),
    ],
)
def test_no_process_starts_and_none_shows_a_traceback(tmp_path: Path, command: list[str]) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), "PORT": "http", "DPOP_NONCE_REQUIRED": "ture"}
    run = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr + run.stdout
    assert {"PORT must be a whole number from 1 to 65535.", "DPOP_NONCE_REQUIRED must be on or off."} <= {
        *run.stderr.splitlines()
    }


def test_every_setting_is_in_the_table() -> None:
    read = set(re.findall(r"variables\.([A-Z_]+)", (ROOT / "authserver" / "settings.py").read_text()))
    assert len(read) > 45
    files_and_free_names = {
        "DATA_DIR",
        "STATIC_ROOT",
        "CONFIG_SECRETS_DIR",
        "REGISTRATION_SCOPES",
        "REGISTRATION_OPERATION_TYPES",
    }
    assert read - files_and_free_names == {name for name, _, _ in WRONG}


def test_an_origin_may_be_an_address() -> None:
    for origin in ("https://127.0.0.1:8443", "http://[::1]:8000", "https://localhost", "http://a-1.b"):
        assert problem_with_origin(origin) is None, origin


def test_the_description_of_v1_has_the_version_of_the_package() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == package["version"]

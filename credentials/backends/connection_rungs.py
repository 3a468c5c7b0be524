"""How far a test of a backend came, in words: the host, TLS, the login, the database, the rights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from credentials.engines import BackendUnreachable as Unreachable
from credentials.engines import (
    DatabaseMissing,
    EngineError,
    LoginRefused,
    NotContacted,
    TlsFailed,
    describe_settings,
    find_engine,
)
from foundation.settings_fields import Undescribed

# Rung → what it says when it holds, and what to do when it does not.
_RUNGS = {
    "engine": (
        "The engine and the secret are there",
        "Install the engine, or enter the administrator's secret anew and save.",
    ),
    "host": (
        "The host answers",
        "Check host and port, whether the server runs, and the firewall between it and Countersign.",
    ),
    "tls": (
        "TLS works",
        "Check that the server offers TLS, that its certificate names this host, and which CA signed it.",
    ),
    "login": (
        "The administrator account logs in",
        "Check the account's name. Enter its secret anew and save. Check from which hosts it may log in.",
    ),
    "database": ("The database is there", "Check the database's name, or create it."),
    "rights": (
        "Accounts can be made, used and revoked",
        "Grant the administrator account the right that the text names, or correct the role's rights.",
    ),
}


@dataclass(frozen=True)
class Rung:
    """`state` is passed, failed, or unknown: not tried, because an earlier rung failed."""

    text: str
    state: str
    problem: str = ""
    advice: str = ""


def failed_at(error: EngineError) -> str:
    """The rung at which a connection failed."""
    for kind, rung in ((NotContacted, "engine"), (LoginRefused, "login"), (DatabaseMissing, "database"),
                       (TlsFailed, "tls"), (Unreachable, "host")):  # fmt: skip
        if isinstance(error, kind):
            return rung
    return "login"


def rungs_of(preflight: Mapping[str, Any], engine: str, settings: Mapping[str, Any]) -> list[Rung]:
    """The rungs of a stored preflight (preflight.Report), those that this backend has; empty if there was none."""
    steps = preflight.get("steps", [])
    if not steps:
        return []
    problem = next((step["problem"] for step in steps if not step["ok"]), "")
    failed = (preflight.get("failed_at") or "rights") if problem else ""
    found, is_beyond = [], False
    for name in _names(_with_defaults(engine, settings), failed):
        text, advice = _RUNGS[name]
        if name == failed:
            found.append(Rung(text, "failed", problem, advice))
            is_beyond = True
        else:
            found.append(Rung(text, "unknown" if is_beyond else "passed"))
    return found


def _with_defaults(engine: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        described: Any = describe_settings(find_engine(engine), "backend")
    except (Undescribed, EngineError):
        described = ()
    return {field.name: field.default for field in described if field.default is not None} | dict(settings)


def _names(settings: Mapping[str, Any], failed: str) -> list[str]:
    # With `prefer`, a connection that works may be one without TLS.
    uses_tls = bool(settings.get("tls")) or settings.get("sslmode") in {"require", "verify-ca", "verify-full"}
    left_out = {"engine"} | (set() if uses_tls else {"tls"})
    left_out |= set() if "database" in settings else {"database"}
    return [name for name in _RUNGS if name == failed or name not in left_out]

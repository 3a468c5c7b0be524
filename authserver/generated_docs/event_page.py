"""docs/events.md: every kind of audit event, with its facts."""

from django.conf import settings

from audit import events
from audit.events import EventKind
from authserver.generated_docs.markdown import code, page, section, table
from authserver.generated_docs.recorded_facts import Recorded, find_recorded

# The first word of an event's kind → its section.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Requests and prompts": ("request", "prompt"),
    "Grants, tokens and uses": ("grant", "token", "refresh_token", "use"),
    "Leases and backends": ("lease", "leases", "orphan", "backend", "role", "recovery"),
    "Agents": ("agent", "initial_access_token"),
    "Users": ("user", "invitation", "sign_in_link", "group"),
    "Exports of the administration": ("export",),
    "Devices and user codes": ("device", "user_code"),
    "Resources and keys": ("resource", "scope", "operation_type", "hint_issuer", "vapid_key", "signing_key"),
}

_INTRO = """\
An event is one record of the audit log. The meaning of a kind never changes. The body of an event
is a JSON object:

| member | meaning |
|---|---|
| `v` | The version of this schema. |
| `kind` | The kind of event: one of the kinds below. |
| `at` | The time, UTC. |
| `actor` | Who did it: `user:<id>`, `agent:<client_id>`, `resource:<id>`, `config:<file name>` or `system`. |
| `client_id` | The agent that the event concerns, or an empty text. |
| `user`, `request`, `grant` | The ids of what the event concerns, or null. |
| `traceparent` | The caller's trace (W3C Trace Context), or null. Background work continues it. It proves nothing. |
| `facts` | The facts below. Not every event of a kind has every fact. No fact is a secret or a token. |

If *user reads* has a text, the user whom the event concerns sees that text on /activity. All other
kinds are for administrators only. *Collapsed* kinds are refusals: equal refusals within one minute
are recorded once. `…` stands for facts that depend on what an administrator selected.

Beside the body, the database writes three columns of its own into each row of `audit_event`. What
an INSERT gives for them is overwritten:

| column | meaning |
|---|---|
| `recorded_at` | The database's own time. `at` is the application's time. |
| `transaction_id` | The number of the database's transaction, as pg_current_xact_id() returns it. |
| `recorded_by` | The role that was logged in to the database. |

Events of one transaction have one `transaction_id`. The order of `id` is not the order of commits.
To read every event once, read in the order of `transaction_id` and `id`, and only events whose
`transaction_id` is below `pg_snapshot_xmin(pg_current_snapshot())`: no event below it can still
appear."""

_COLUMNS = ("kind", "meaning", "user reads", "collapsed", "facts")


def render() -> str:
    recorded = find_recorded(settings.BASE_DIR)
    by_name = {kind.name: recorded.get(constant, frozenset()) for constant, kind in _constants().items()}
    return page("Events", _INTRO, *(_render_section(title, nouns, by_name) for title, nouns in SECTIONS.items()))


def _constants() -> dict[str, EventKind]:
    return {name: kind for name, kind in vars(events).items() if isinstance(kind, EventKind)}


def _render_section(title: str, nouns: tuple[str, ...], facts: dict[str, Recorded]) -> str:
    kinds = [kind for kind in events.all_kinds() if noun_of(kind) in nouns]
    return section(title, table(_COLUMNS, [_row(kind, facts[kind.name]) for kind in kinds]))


def noun_of(kind: EventKind) -> str:
    return kind.name.partition(".")[0]


def _row(kind: EventKind, facts: Recorded) -> tuple[str, ...]:
    names = ", ".join(fact if fact == "…" else code(fact) for fact in sorted(facts))
    return code(kind.name), kind.title, kind.user_text or "-", "yes" if kind.refusal else "no", names or "-"

"""One-time values of an agent: the `jti` of an assertion (RFC 7523 3), a request object or a DPoP
proof (RFC 9449 11.1).
"""

from datetime import timedelta

from clients.models import Agent, SpentAssertion
from foundation.handles import digest
from foundation.prepared_statements import Statement, execute

CLOCK_SKEW = timedelta(seconds=30)


def spend(client_id: str, value: str, exp: float) -> bool:
    """Spends `value`. False if this agent has spent it before. `exp` (s) is the expiry of the JWT that carries it.

    One statement commits by itself, so that one of two concurrent calls fails, even if the request
    fails later.
    """
    sent = execute(_SPEND, [digest(value), exp + CLOCK_SKEW.total_seconds(), client_id])
    return bool(sent.rowcount == 1)


_SPEND = Statement(
    f"INSERT INTO {SpentAssertion._meta.db_table} (agent_id, jti_digest, expires_at)"  # noqa: S608
    f" SELECT id, %s::bytea, to_timestamp(%s::float8) FROM {Agent._meta.db_table} WHERE client_id = %s"
    " ON CONFLICT (agent_id, jti_digest) DO NOTHING"
)

"""What an agent may send once only: the `jti` of an assertion (RFC 7523 3), of a request object and of a DPoP proof
(RFC 9449 11.1)."""

from datetime import timedelta

from django.db import connection

from clients.models import Agent, SpentAssertion
from foundation.handles import digest

CLOCK_SKEW = timedelta(seconds=30)


def spend(client_id: str, value: str, exp: float) -> bool:
    """False where this agent has sent `value` before. `exp` (seconds): when what carries it expires.

    One statement that commits by itself, so that of two at once one loses, whatever becomes of the request.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {SpentAssertion._meta.db_table} (agent_id, jti_digest, expires_at)"  # noqa: S608
            f" SELECT id, %s, to_timestamp(%s) FROM {Agent._meta.db_table} WHERE client_id = %s"
            " ON CONFLICT (agent_id, jti_digest) DO NOTHING",
            [digest(value), exp + CLOCK_SKEW.total_seconds(), client_id],
        )
        return bool(cursor.rowcount == 1)

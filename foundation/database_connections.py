"""The class of the application's database connections. Knows psycopg only, because the settings name it."""

from typing import Any, Self

from psycopg import Connection

# More than there are compiled statements, because a statement beyond it is prepared again and again.
MAX_PREPARED = 250
# psycopg may prepare what asks for it (foundation/prepared_statements.py), and nothing by itself.
NEVER_BY_ITSELF = 2**31
# A prepared statement keeps one plan, made without its values: for our wide conditions, making a plan costs
# several times as much as the answer. Other statements are not prepared, so their plans are not affected.
SESSION = "SET plan_cache_mode = force_generic_plan; SET jit = off"


class PreparingConnection(Connection[Any]):
    """A connection on which statements can be prepared. It costs one round trip more, when it is opened."""

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        connection = super().connect(conninfo, **options)
        try:
            allow_prepared(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def allow_prepared(connection: Connection[Any]) -> None:
    """Statements can be prepared on this new connection from now on."""
    connection.prepare_threshold, connection.prepared_max = NEVER_BY_ITSELF, MAX_PREPARED
    connection.execute(SESSION, prepare=False)
    if not connection.autocommit:
        connection.commit()

"""Drops what an account owns in one database of PostgreSQL, in batches.

A transaction locks everything that it drops until its end: a table with its indexes, sequences and
types. All sessions of the server share one table of locks, and an account may own more than it
holds. Then DROP OWNED would fail forever, and other sessions would fail beside it.
"""

import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from credentials.engines import EngineError

LARGE_OBJECTS = 1000  # unlinked per transaction
MAX_AT_ONCE = 200  # objects that DROP OWNED drops in one transaction
BATCH = 100  # objects per transaction where there are more
TOO_MANY_LOCKS = "its objects need more locks than the server has (max_locks_per_transaction)"
# In this order, because each kind may depend on those after it.
_KINDS = (
    "view", "materialized view", "table", "foreign table", "sequence", "function", "procedure", "aggregate", "type",
    "schema",
)  # fmt: skip
Owned = Sequence[tuple[int, str, str]]  # OID, kind and quoted name


def unlink_large_objects(role_id: int, connection: psycopg.Connection) -> None:
    """Unlinks the large objects, LARGE_OBJECTS per transaction."""
    has_any = connection.execute(_MAY_UNLINK, {"id": role_id}).fetchone()
    if not has_any or not has_any[0]:
        return
    while True:
        gone = connection.execute(_UNLINK, {"id": role_id, "batch": LARGE_OBJECTS}).fetchone()
        if not gone or gone[0] < LARGE_OBJECTS:
            return


def drop_down_to_few(role_id: int, connection: psycopg.Connection, *, cascade: bool, give_up: float) -> None:
    """Drops objects until DROP OWNED can drop the rest at once. Does nothing if the account owns few.

    Without `cascade`, an object stays while another depends on it. That may be the account's own,
    so what stayed is tried again as long as anything goes. The caller's DROP OWNED reports what
    cannot go. Raises EngineError after `give_up` (time.monotonic()). What is dropped stays dropped,
    and the next attempt continues. Raises OutOfMemory if one object alone needs too many locks.
    """
    left = _count(role_id, connection)
    while left > MAX_AT_ONCE:
        _drop_each_once(role_id, connection, cascade=cascade, give_up=give_up)
        before, left = left, _count(role_id, connection)
        if left == before:
            return


def _drop_each_once(role_id: int, connection: psycopg.Connection, *, cascade: bool, give_up: float) -> None:
    """Drops the newest objects first, because most objects depend on older ones."""
    below, size = 2**32, BATCH
    while found := connection.execute(_OWNED, {"id": role_id, "below": below, "batch": size}).fetchall():
        if time.monotonic() > give_up:
            left = _count(role_id, connection)
            raise EngineError(f"{left} of its objects are not dropped yet: the next attempt continues")
        try:
            _drop(found, connection, cascade=cascade)
        except psycopg.errors.OutOfMemory:
            if size == 1:
                raise
            size = max(1, size // 4)
            continue
        except psycopg.errors.DependentObjectsStillExist:
            _drop_one_by_one(found, connection, cascade=cascade)
        below = found[-1][0]


def _drop_one_by_one(found: Owned, connection: psycopg.Connection, *, cascade: bool) -> None:
    for one in found:
        try:
            _drop([one], connection, cascade=cascade)
        except psycopg.errors.DependentObjectsStillExist:
            continue  # it stays, and is tried again


def _drop(found: Owned, connection: psycopg.Connection, *, cascade: bool) -> None:
    """Drops these objects in one transaction."""
    with connection.transaction():
        for kind in _KINDS:
            if names := ", ".join(name for _, of_kind, name in found if of_kind == kind):
                statement = f"DROP {kind} IF EXISTS {names} {'CASCADE' if cascade else 'RESTRICT'}"
                connection.execute(sql.SQL(statement))  # the server has quoted the names


def owners_rights(role_id: int, connection: psycopg.Connection) -> list[sql.SQL]:
    """Statements that drop the objects that run with their owner's rights.

    Under a new owner they would give access to that owner's rights.
    """
    found = connection.execute(_OWNERS_RIGHTS, {"id": role_id}).fetchall()
    # The server has quoted the names (regclass and similar types, under our search_path).
    return [sql.SQL(statement) for (statement,) in found]


def _count(role_id: int, connection: psycopg.Connection) -> int:
    row: Any = connection.execute(f"SELECT count(*) FROM ({_OWNED_BY}) AS owned", {"id": role_id}).fetchone()  # noqa: S608
    return int(row[0])


_OWNED_BY = """
SELECT classid, objid FROM pg_shdepend
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND refclassid = 'pg_authid'::regclass AND refobjid = %(id)s AND deptype = 'o'
   AND classid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass)
"""
_OWNED = f"""
SELECT o.objid::bigint, i.type, i.identity
  FROM ({_OWNED_BY} AND objid::bigint < %(below)s ORDER BY objid DESC LIMIT %(batch)s) AS o,
       LATERAL pg_identify_object(o.classid, o.objid, 0) AS i
 ORDER BY 1 DESC
"""  # noqa: S608
_MAY_UNLINK = """
SELECT EXISTS (SELECT FROM pg_largeobject_metadata WHERE lomowner = %(id)s)
       AND has_function_privilege('lo_unlink(oid)', 'EXECUTE')
"""
_UNLINK = """
SELECT count(lo_unlink(oid)) FROM (
    SELECT oid FROM pg_largeobject_metadata WHERE lomowner = %(id)s LIMIT %(batch)s) AS mine
"""
_OWNERS_RIGHTS = """
SELECT format('DROP RULE IF EXISTS %%I ON %%s CASCADE', rulename, ev_class::regclass)
    FROM pg_rewrite JOIN pg_class c ON c.oid = ev_class WHERE c.relowner = %(id)s AND rulename <> '_RETURN'
UNION ALL
SELECT format('DROP %%s IF EXISTS %%s CASCADE', CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END,
              oid::regclass)
    FROM pg_class WHERE relowner = %(id)s AND relkind IN ('v', 'm')
UNION ALL
SELECT format('DROP ROUTINE IF EXISTS %%s CASCADE', oid::regprocedure) FROM pg_proc WHERE proowner = %(id)s
"""

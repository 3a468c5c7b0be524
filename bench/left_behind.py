"""What leases leave on a PostgreSQL backend after all of them are gone: nothing."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from product import backend_login, say

PAGE = 8192


@dataclass(frozen=True)
class Left:
    """On the backend."""

    named: int  # tables whose ACL names an account
    rows: int
    size: int

    @classmethod
    def find(cls) -> "Left":
        import psycopg

        from credentials.models import Backend

        backend = Backend.objects.get()
        password = json.loads((Path(os.environ["DATA_DIR"]) / "keys" / "postgres.json").read_text())["postgres"]
        with psycopg.connect(**backend_login() | {"user": "postgres", "password": password}, autocommit=True) as system:
            system.execute("VACUUM pg_authid")
            row = system.execute(
                "SELECT (SELECT count(*) FROM pg_class WHERE strpos(relacl::text, %s) > 0), count(*),"
                " pg_relation_size('pg_authid') FROM pg_authid", [backend.prefix],
            ).fetchone()  # fmt: skip
        return cls(*(row or ()))


def check_that_nothing_is_left(before: Left) -> None:
    after = Left.find()
    say(
        f"\nLeft by all of them: {after.named} table ACLs name an account; pg_authid has {after.rows} rows and "
        f"{after.size} bytes after VACUUM, and had {before.rows} and {before.size}"
    )
    if after.named:
        raise SystemExit(f"{after.named} tables name an account in their ACL")
    if after.rows != before.rows:
        raise SystemExit(f"pg_authid had {before.rows} rows, and has {after.rows}")
    if after.size > before.size + PAGE:
        raise SystemExit(f"pg_authid grew from {before.size} to {after.size} bytes, which is more than a page")

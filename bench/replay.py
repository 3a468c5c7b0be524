"""The SQL of an issue and of a revoke alone: recorded as the product sends it, sent again by psycopg and nothing else.

Recorded is what one issue and one revoke send to our own database and to the backend: each statement's text, its
parameters, and where transactions begin and end. A replay sends the same in the same order, over one connection to each
of the two: begun, committed and prepared as there. The lease, its use, its grant and its account are others each time,
and times are moved to now. An answer must have as many rows as when it was recorded, or this lease goes no further: a
statement that finds nothing costs less than what is to be measured.

Grants are made before, and texts are filled in while no clock runs. What a replay leaves out is the product: composing
statements, reading answers, deciding, sharing links, cutting off calls that hang. On request it computes the SCRAM
verifier that CREATE ROLE needs: that is no SQL, but whoever sends the statement has to have one.
"""

import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

COMMIT = "COMMIT"
# In SQL's, in ISO's and in JSON's way to say it; all of them in UTC.
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d\.\d{6}")


@dataclass
class Sent:
    """One statement, or a commit."""

    to_backend: bool
    text: str
    values: Any = None  # parameters that travel beside the text
    in_transaction: bool = False
    rows: int = 0
    number: int | None = None  # what it answered: a later statement may name it


@dataclass
class Recorded:
    """One act. `ids` are those that each replay has its own of."""

    sent: list[Sent]
    at: str
    lease: str
    use: str
    grant: str

    @classmethod
    def read(cls, reply: dict[str, Any]) -> "Recorded":
        return cls(**{**reply, "sent": [Sent(**one) for one in reply["sent"]]})

    def reply(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def round_trips(self) -> int:
        begins = sum(one.text == COMMIT for one in self.sent)
        return len(self.sent) + begins


class Recorder:
    """Notes what this process sends from here on."""

    def __init__(self) -> None:
        self._sent: list[Sent] = []
        self._waits = 0
        execute, commit, wait = psycopg.Cursor.execute, psycopg.Connection.commit, psycopg.Connection.wait

        def noted_execute(cursor: Any, query: Any, parameters: Any = None, **more: Any) -> Any:
            sent = _as_sent(cursor, query, parameters)
            answer = execute(cursor, query, parameters, **more)
            sent.rows, sent.number = cursor.rowcount, _number(cursor.pgresult)
            self._sent.append(sent)
            return answer

        def noted_commit(connection: Any) -> None:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                self._sent.append(Sent(False, COMMIT))
            commit(connection)

        def noted_wait(connection: Any, *arguments: Any, **more: Any) -> Any:
            sends = not any(getattr(one, "__name__", "") == "_set_autocommit_gen" for one in arguments)
            self._waits += sends and threading.current_thread() is threading.main_thread()
            return wait(connection, *arguments, **more)

        psycopg.Cursor.execute = noted_execute  # type: ignore[method-assign]
        psycopg.Connection.commit = noted_commit  # type: ignore[method-assign]
        psycopg.Connection.wait = noted_wait  # type: ignore[method-assign]

    def take(self, lease: Any) -> Recorded:
        """The statements since the last call. Fails if one was sent in another way, or was rolled back."""
        sent, waits = self._sent, self._waits
        self._sent, self._waits = [], 0
        if len(sent) != waits:
            raise SystemExit(f"{waits} calls were made, and {len(sent)} were recorded")
        return Recorded(sent, _now().isoformat(), str(lease.id), str(lease.use_id), str(lease.grant_id))


def _as_sent(cursor: Any, query: Any, parameters: Any) -> Sent:
    """Django merges parameters into the text by itself (ClientCursor); others travel beside it."""
    is_ours = isinstance(cursor, psycopg.ClientCursor)
    if is_ours and parameters is not None:
        text, parameters = psycopg.ClientCursor(cursor.connection).mogrify(query, parameters), None
    else:
        text = query if isinstance(query, str) else query.as_string(cursor)
    return Sent(not is_ours, text, parameters, in_transaction=not cursor.connection.autocommit)


def _number(result: Any) -> int | None:
    value = result.get_value(0, 0) if result is not None and result.ntuples else None
    return int(value) if value is not None and value.isdigit() else None


class Replay:
    """One worker's: its two connections, and how many leases went another way than recorded."""

    def __init__(self, backend: dict[str, Any]) -> None:
        ours = psycopg.connect(
            os.environ["DATABASE_URL"], autocommit=True, prepare_threshold=None, cursor_factory=psycopg.ClientCursor
        )
        theirs = psycopg.connect(**backend, autocommit=True, options="-c search_path=pg_catalog")
        self._links = {False: ours, True: theirs}
        self.differed = 0

    def send(self, recorded: Recorded, ids: dict[str, str], *, with_verifier: bool) -> float:
        """Seconds of one act about these ids."""
        sent = _filled(recorded, ids)
        began = time.perf_counter()
        is_same = self._send(sent, with_verifier)
        took = time.perf_counter() - began
        if not is_same:
            self.differed += 1
            self._links[False].rollback()
        return took

    def _send(self, sent: list[Sent], with_verifier: bool) -> bool:
        numbers: dict[int, int] = {}
        for one in sent:
            link = self._links[one.to_backend]
            if one.text == COMMIT:
                link.commit()
                continue
            if link.autocommit == one.in_transaction:
                link.autocommit = not one.in_transaction  # no round trip
            if with_verifier and one.text.startswith("CREATE ROLE"):
                _compute_verifier()
            cursor = link.execute(one.text, _with_numbers(one.values, numbers))
            if cursor.rowcount != one.rows:
                return False
            if one.number is not None:
                numbers[one.number] = _number(cursor.pgresult) or 0
        return True


def _filled(recorded: Recorded, ids: dict[str, str]) -> list[Sent]:
    pairs = [(recorded.lease, ids["lease"]), (recorded.use, ids["use"]), (recorded.grant, ids["grant"])]
    others = dict(pairs) | {_digits(old): _digits(new) for old, new in pairs}
    others[account_of(recorded.lease)] = account_of(ids["lease"])
    later = _now() - datetime.fromisoformat(recorded.at)
    known = re.compile("|".join(sorted(others, key=len, reverse=True)))

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fill(one) for name, one in value.items()}
        if isinstance(value, list):
            return [fill(one) for one in value]
        if not isinstance(value, str):
            return value
        return TIME.sub(lambda found: _moved(found[0], later), known.sub(lambda found: others[found[0]], value))

    return [Sent(**{**vars(one), "text": fill(one.text), "values": fill(one.values)}) for one in recorded.sent]


def account_of(lease: str) -> str:
    """The part of an account's name that is the lease's."""
    return _digits(lease)[:20]


def _digits(uuid: str) -> str:
    return uuid.replace("-", "")


def _moved(moment: str, later: timedelta) -> str:
    return (datetime.fromisoformat(moment) + later).isoformat(moment[10], timespec="microseconds")


def _with_numbers(values: Any, numbers: dict[int, int]) -> Any:
    return [numbers.get(one, one) for one in values] if isinstance(values, list) else values


def _compute_verifier() -> None:
    from credentials.engines import scram
    from foundation.handles import new_handle

    scram.verifier(new_handle())


def _now() -> datetime:
    return datetime.now(UTC)

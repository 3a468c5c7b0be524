"""Whether a function takes part in its caller's transaction, or must not. No other module asks the connection."""

from django.db import connection


def inside_transaction(what: str) -> None:
    """Raises RuntimeError outside a transaction. `what` names the work that needs its caller's transaction."""
    if not connection.in_atomic_block:
        raise RuntimeError(f"{what} takes part in a transaction of its caller")


def outside_transaction(what: str) -> None:
    """Raises RuntimeError inside a transaction. `what` waits for another system and would hold the locks meanwhile."""
    if connection.in_atomic_block:
        raise RuntimeError(f"{what} waits for the network: not inside a transaction")


def its_own_transaction(what: str) -> None:
    """Raises RuntimeError inside a transaction, but not inside that of a test case (like `durable=True`)."""
    if connection.in_atomic_block and not getattr(connection.atomic_blocks[-1], "_from_testcase", False):
        raise RuntimeError(f"{what} is committed by itself: not inside a transaction")

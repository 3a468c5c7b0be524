"""Systems to lend from."""

from tests.credentials.systems import postgres_server

__all__ = ["postgres_server"]

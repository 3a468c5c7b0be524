"""The demo's users, and its configuration: `make run` seeds them and `make agent` requests them.

The configuration is the file demo.yaml. Never used in production.
"""

from functools import cache
from pathlib import Path
from typing import Any

USER = {"email": "demo@example.com", "name": "Demo User"}
ADMINISTRATOR = {"email": "admin@example.com", "name": "Demo Administrator"}
# The backend of the lease that `make agent` requests: an account of the sample orders
# (runtime/orders.py).
BACKEND = "demo-orders"


@cache
def configuration() -> dict[str, Any]:
    """The file. Its caller changes nothing in it."""
    from authserver.configuration.yaml_format import parse  # imported late: only the demo reads the file

    content: dict[str, Any] = parse(Path(__file__).with_name("demo.yaml").read_bytes()).value
    return content


def names(section: str) -> list[str]:
    return [one["name"] for one in configuration()[section]]

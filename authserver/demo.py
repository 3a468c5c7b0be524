"""The demo's objects, as data: `make run` seeds them and `make agent` requests them.

Never used in production.
"""

from typing import Any

USER = {"email": "demo@example.com", "name": "Demo User"}
ADMINISTRATOR = {"email": "admin@example.com", "name": "Demo Administrator"}

SCOPES: list[dict[str, str]] = [
    {"name": "calendar.read", "description": "Read your calendar", "risk": "routine"},
    {"name": "payments.read", "description": "See your payments", "risk": "sensitive"},
]


def _text(max_length: int, **more: Any) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": max_length, **more}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": required | (optional or {}),
    }


# Name → the fields of its first version (operations/models.py: OperationTypeVersion).
OPERATION_TYPES: dict[str, dict[str, Any]] = {
    "payment": {
        "title": "Payment",
        "summary": "Pay {amount|money:currency} to {creditor_name}",
        "risk": "critical",
        "uses": 1,
        "lifetime": 600,
        "schema": _object(
            {
                "amount": {"type": "string", "pattern": r"^[0-9]{1,9}\.[0-9]{2}$"},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "creditor_name": _text(70, title="To"),
                "creditor_iban": {"title": "IBAN", "type": "string", "pattern": "^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$"},
            },
            {"reference": _text(140)},
        ),
    },
    "deploy": {
        "title": "Deployment",
        "summary": "Deploy version {version} of {service} to {environment}",
        "risk": "critical",
        "uses": 1,
        "lifetime": 900,
        "schema": _object(
            {
                "service": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,62}$"},
                "environment": {"type": "string", "enum": ["staging", "production"]},
                "version": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            },
            {"change_url": {"type": "string", "pattern": "^https://[^ ]+$", "maxLength": 300}},
        ),
    },
    "email": {
        "title": "E-mail",
        "summary": "Send “{subject}” to {to|list}",
        "risk": "sensitive",
        "uses": 1,
        "lifetime": 600,
        "schema": _object(
            {
                "to": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 10,
                    "items": {"type": "string", "pattern": "^[^@ ]+@[^@ ]+$", "maxLength": 254},
                },
                "subject": _text(120),
                "body": _text(2000),
            }
        ),
    },
    "calendar": {
        "title": "Calendar",
        "summary": "Read the calendar from {from|date} to {to|date}",
        "risk": "routine",
        "uses": 1,
        "lifetime": 300,
        "schema": _object(
            {
                "from": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
                "to": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
            }
        ),
    },
}
ASSURANCE = "session"

# The backend of the lease that `make agent` requests: an account of the sample orders
# (runtime/orders.py).
BACKEND = "demo-orders"
ROLE: dict[str, Any] = {
    "name": "orders-readonly",
    "settings": {"groups": ["demo_orders_reader"], "connection_limit": 3},
    "default_lifetime": 300,
    "max_lifetime": 900,
}
ROLE_MEANING: dict[str, Any] = {
    "title": "Read the orders database",
    "summary": "A database account that reads the sample orders and changes nothing",
    "risk": "sensitive",
    "assurance": ASSURANCE,
    "uses": 1,
}

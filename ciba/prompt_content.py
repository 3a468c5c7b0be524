"""The content of a prompt: composed by the server from the validated operation, and bound by a
digest. Pure.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

from foundation.canonical import canonical_json
from operations import wording

LOCALE = "en"
MAX_SUMMARY_FIELDS = 8
MAX_SUMMARY_CHARACTERS = 300  # characters


class PromptField(TypedDict):
    label: str
    value: str


class PromptOperation(TypedDict):
    title: str
    summary: str
    risk: str
    fields: list[PromptField]


class PromptContent(TypedDict):
    """Stored when the request is opened, so that a later edit never changes an open prompt."""

    agent: str
    resource: str | None
    operations: list[PromptOperation]
    access: list[str]  # what each requested scope allows, in words


JUST_OPENID = "Know that you approved"


def describe_operation(
    details: dict[str, Any], *, title: str, summary: str, risk: str, schema: dict[str, Any]
) -> PromptOperation:
    """Lists every field of the operation.

    Raises wording.WordingError if a field cannot be displayed.
    """
    return {
        "title": wording.render(title, details),
        "summary": wording.render(summary, details),
        "risk": risk,
        "fields": [{"label": field.label, "value": field.value} for field in wording.all_fields(details, schema)],
    }


def describe_access(identity_scopes: Sequence[str], descriptions: Sequence[str], *, offline: bool) -> list[str]:
    """What the scopes allow, in words.

    `openid` is listed only if nothing else is requested. `offline`: offline_access.
    """
    identity = [wording.IDENTITY_WORDS[name] for name in identity_scopes if name != "openid"]
    return [*descriptions, *identity, *([wording.OFFLINE_ACCESS_TEXT] if offline else [])]


def headline(content: PromptContent) -> str:
    """One line for lists: the operation, or the requested access."""
    if content["operations"]:
        return "; ".join(operation["summary"] for operation in content["operations"])
    return ", ".join(content["access"]) or JUST_OPENID


def is_long(content: PromptContent) -> bool:
    """Whether the content is longer than a screen.

    Then the answer buttons follow it and do not float above it.
    """
    fields = [field for operation in content["operations"] for field in operation["fields"]]
    texts = [*(field["value"] for field in fields), *content["access"]]
    return len(texts) > MAX_SUMMARY_FIELDS or sum(map(len, texts)) > MAX_SUMMARY_CHARACTERS


def prompt_digest(
    *,
    operation_digest: str,
    content: PromptContent,
    binding_message: str,
    request_id: UUID,
    expires_at: datetime,
    nonce: bytes,
) -> bytes:
    """SHA-256 that binds one answer to the shown content of exactly this operation, once."""
    bound = {
        "operation_digest": operation_digest,
        "content": content,
        "binding_message": binding_message,
        "wording_version": wording.WORDING_VERSION,
        "locale": LOCALE,
        "request_id": str(request_id),
        "expires_at": expires_at.astimezone(UTC).isoformat(),
        "nonce": nonce.hex(),
    }
    return hashlib.sha256(canonical_json(bound)).digest()

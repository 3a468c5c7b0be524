"""POST /v1/uses: a resource server spends one use of an approval, right before it carries out the
call.
"""

import re
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidRequest, ProtocolError
from foundation.forms import parse_json, read_body
from foundation.idempotency import parse_idempotency_key
from oauth.errors import InvalidToken
from oauth.grants import lifecycle
from oauth.resource_servers.authentication import authenticate_resource
from oauth.tokens.token_verification import verify
from operations.identifiers import is_same_resource

_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}")


@protocol_endpoint("uses", "POST")
def uses(request: HttpRequest) -> HttpResponse:
    """Body: {"token": …, "operation_digest": …}; header Idempotency-Key, optional.

    201 with the use (200 where the key repeats an earlier one); 400 invalid_token, 403
    operation_mismatch, 409 used_up. docs/guides/resource-servers.md says how to compute the digest.
    """
    body = parse_json(read_body(request, "application/json"), "the body")
    resource = authenticate_resource(request)
    token, digest = _parse(body)
    key = parse_idempotency_key(request)
    now = timezone.now()
    claims = verify(token, "at+jwt", now)
    # A token for another resource is unknown here, and so is a token without a grant.
    if claims is None or not is_same_resource(resource.identifier, claims["aud"]) or "grant_id" not in claims:
        raise InvalidToken()
    if claims["exp"] <= now.timestamp():
        raise InvalidToken()
    answer = lifecycle.use(lifecycle.UseCall(UUID(claims["grant_id"]), digest, key, claims["jti"]), resource, now)
    if isinstance(answer, ProtocolError):
        raise answer
    use = {
        "use_id": str(answer.id),
        "at": answer.at.isoformat(),
        "operation_digest": answer.operation_digest,
        "uses_left": answer.uses_left,
    }
    return json_response(use, 201 if answer.at == now else 200)


def _parse(body: Any) -> tuple[str, str]:
    token = body.get("token") if isinstance(body, dict) else None
    digest = body.get("operation_digest") if isinstance(body, dict) else None
    if not isinstance(token, str) or not token:
        raise InvalidRequest("token is missing")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidRequest("operation_digest is not 43 characters of base64url")
    return token, digest

"""POST /v1/uses: a resource server spends one use of an approval, right before it carries out the
call.
"""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework import serializers
from rest_framework.views import APIView

from foundation import idempotency
from foundation.api_description import describe
from foundation.endpoint import json_response, protocol_endpoint
from foundation.errors import InvalidClient, ProtocolError
from foundation.forms import parse_json, read_body
from foundation.serializers import RequestBody, TextField, TimeField
from oauth.errors import InvalidToken, OperationMismatch, UsedUp
from oauth.grants import lifecycle
from oauth.resource_servers.api_authentication import ResourceCredential
from oauth.resource_servers.authentication import authenticate_resource
from oauth.tokens.token_verification import verify
from operations.identifiers import is_same_resource


class UseRequestSerializer(RequestBody):
    """Which use to spend. Unknown members are ignored."""

    token = TextField(wanted="an access token", min_length=1, help_text="The access token that the agent sent.")
    operation_digest = TextField(
        wanted="43 characters of base64url", pattern="[A-Za-z0-9_-]{43}",
        help_text="The digest of the call that you are about to carry out, computed from the call itself.",
    )  # fmt: skip


class UseSerializer(serializers.Serializer[Any]):
    """One spent use."""

    use_id = serializers.UUIDField(source="id")
    at = TimeField(help_text="When the use was spent. A repeat has the time of the first call.")
    operation_digest = serializers.CharField()
    uses_left = serializers.IntegerField(allow_null=True, help_text="How many uses remain. null: not counted.")


_REQUEST, _USE = UseRequestSerializer(), UseSerializer()


class Uses(APIView):
    authentication_classes = (ResourceCredential,)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Calls the method directly: an API calls this before every operation, and DRF's own request, parsers and
        renderers would take longer than reading the body.
        """
        return self.post(request)

    @describe(
        "use_spend", {201: UseSerializer, 200: UseSerializer}, InvalidToken, InvalidClient, OperationMismatch, UsedUp,
        request=UseRequestSerializer, parameters=(idempotency.DESCRIPTION,),
    )  # fmt: skip
    def post(self, request: HttpRequest) -> HttpResponse:
        """Spends one use of the grant behind an access token. Call this right before you carry out an operation that a
        user approved, and carry it out only after a 200 or 201.

        For resource servers, with their own credential. The token must be for the calling resource.

        Answers 201 with the use. With an Idempotency-Key that was sent before, answers 200 with the
        first use and spends nothing.

        `invalid_token`: the token is unknown, expired or revoked, is for another resource, or its
        grant has ended. `operation_mismatch`: the digest is not that of the approved operation.
        `used_up`: no use is left. docs/guides/resource-servers.md says how to compute the digest.
        """
        body = parse_json(read_body(request, "application/json"), "the body")
        resource = authenticate_resource(request)
        sent = _REQUEST.read(body)
        key = idempotency.parse_idempotency_key(request)
        now = timezone.now()
        claims = verify(sent["token"], "at+jwt", now)
        # A token for another resource is unknown here, and so is a token without a grant.
        if claims is None or not is_same_resource(resource.identifier, claims["aud"]) or "grant_id" not in claims:
            raise InvalidToken()
        if claims["exp"] <= now.timestamp():
            raise InvalidToken()
        called = lifecycle.UseCall(UUID(claims["grant_id"]), sent["operation_digest"], key, claims["jti"])
        answer = lifecycle.use(called, resource, now)
        if isinstance(answer, ProtocolError):
            raise answer
        return json_response(_USE.to_representation(answer), 201 if answer.at == now else 200)


uses = protocol_endpoint("uses", "POST")(Uses.as_view())

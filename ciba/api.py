"""/v1/prompts: the signed-in user's own prompts (DRF with session authentication; CSRF as on
pages).
"""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.authentication import SessionAuthentication
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from ciba.decisions import answer, find_prompt, waiting_prompts
from ciba.errors import NotPending, SignInAgain, UnknownPrompt
from ciba.event_stream import open_event_stream
from ciba.policy import AnswerVerdict
from ciba.serializers import PromptListSerializer, PromptSerializer, state_of
from foundation.api_description import describe
from foundation.api_errors import NotAcceptable, NotSignedIn, SessionCallRefused, UnsupportedType
from foundation.endpoint import error_response
from foundation.errors import ProtocolError
from foundation.pending_answers import TooManyStreams

_ANSWER_ERRORS = (
    NotAcceptable, NotSignedIn, SignInAgain, SessionCallRefused, UnknownPrompt, NotPending, UnsupportedType,
)  # fmt: skip


class OwnPrompts(APIView):
    """For the signed-in user, with the session of their browser. An agent's token does not work."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    def user(self, request: Request) -> User:
        if not isinstance(request.user, User):
            raise TypeError("IsAuthenticated let somebody else in")
        return request.user

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, ProtocolError):
            return error_response(exc, self.request)  # type: ignore[return-value]  # DRF takes any answer of Django
        return super().handle_exception(exc)


def _private(serializer: type[PromptSerializer | PromptListSerializer], instance: Any) -> Response:
    body = serializer(instance, context={"now": timezone.now()}).data
    return Response(body, headers={"Cache-Control": "no-store"})


class Prompts(OwnPrompts):
    @describe("prompts", {200: PromptListSerializer}, NotAcceptable, NotSignedIn)
    def get(self, request: Request) -> Response:
        """Lists the prompts that the user can answer now, the most urgent first.

        For the signed-in user, with the session of their browser.
        """
        return _private(PromptListSerializer, {"prompts": waiting_prompts(self.user(request), timezone.now())})


class OnePrompt(OwnPrompts):
    @describe("prompt", {200: PromptSerializer}, NotAcceptable, NotSignedIn, UnknownPrompt)
    def get(self, request: Request, prompt_id: UUID) -> Response:
        """Reads one prompt, also after it was answered.

        For the signed-in user, with the session of their browser. Another user's prompt is
        `not_found`.
        """
        prompt = find_prompt(self.user(request), prompt_id)
        if prompt is None:
            raise UnknownPrompt()
        return _private(PromptSerializer, prompt)


class AnyAccept(BaseContentNegotiation):
    """EventSource accepts text/event-stream only, and errors are JSON all the same."""

    def select_renderer(self, _request: Request, renderers: Any, _format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class PromptEvents(OwnPrompts):
    content_negotiation_class = AnyAccept
    http_method_names = ["get"]

    @describe("prompt_events", {(200, "text/event-stream"): str, 204: None}, NotSignedIn, TooManyStreams)
    def get(self, request: Request) -> HttpResponseBase:
        """Opens a stream of server-sent events that says when the user's prompts have changed. An event has no data:
        fetch the prompts after each.

        For the signed-in user, with the session of their browser. The stream ends with the session.

        Answers 204 if this server cannot keep a stream open; fetch the prompts now and then
        instead. `slow_down`: the user has too many open streams.
        """
        return open_event_stream(request._request, self.user(request))


class AnswerPrompt(OwnPrompts):
    """Answers as the signed-in user. The body is not read: it cannot name another user."""

    approve: bool

    def answer(self, request: Request, prompt_id: UUID) -> Response:
        user = self.user(request)
        verdict = answer(request._request, user, prompt_id, approve=self.approve)
        prompt = find_prompt(user, prompt_id)
        if prompt is None or verdict is AnswerVerdict.UNKNOWN:
            raise UnknownPrompt()
        if verdict is AnswerVerdict.SIGN_IN_AGAIN:
            raise SignInAgain()
        if verdict is not AnswerVerdict.COUNT:
            raise NotPending(f"this prompt is {state_of(prompt, timezone.now())} or has expired")
        return _private(PromptSerializer, prompt)


class Approve(AnswerPrompt):
    approve = True

    @describe("prompt_approve", {200: PromptSerializer}, *_ANSWER_ERRORS, request=None)
    def post(self, request: Request, prompt_id: UUID) -> Response:
        """Approves a prompt, once. The body is not read.

        For the signed-in user, with the session of their browser and its CSRF token. The sign-in
        must be recent.

        Answers 200 with the prompt. `sign_in_again`: the sign-in is too old. `not_pending`: the
        prompt was answered, has expired or was cancelled.
        """
        return self.answer(request, prompt_id)


class Deny(AnswerPrompt):
    approve = False

    @describe("prompt_deny", {200: PromptSerializer}, *_ANSWER_ERRORS, request=None)
    def post(self, request: Request, prompt_id: UUID) -> Response:
        """Denies a prompt, once. The body is not read.

        For the signed-in user, with the session of their browser and its CSRF token.

        Answers 200 with the prompt. `not_pending`: the prompt was answered, has expired or was
        cancelled.
        """
        return self.answer(request, prompt_id)

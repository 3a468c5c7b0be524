"""/v1/prompts: the signed-in user's own prompts (DRF with session authentication; CSRF as on
pages).
"""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from ciba.decisions import answer, find_prompt, waiting_prompts
from ciba.models import Prompt
from ciba.policy import AnswerVerdict
from ciba.prompt_content import headline
from ciba.states import State, state_at

PromptShape = inline_serializer(
    "Prompt",
    {
        "id": serializers.UUIDField(),
        "state": serializers.ChoiceField([state.value for state in State]),
        "agent": serializers.CharField(),
        "agent_mark": serializers.CharField(
            help_text="Beside the name of an agent that registered itself; else empty."
        ),
        "headline": serializers.CharField(help_text="Composed by the server from the validated operation."),
        "content": serializers.JSONField(help_text="Everything that the page shows, composed by the server."),
        "binding_message": serializers.CharField(help_text="The agent's own words; not verified by anybody."),
        "assurance": serializers.CharField(),
        "created_at": serializers.DateTimeField(),
        "expires_at": serializers.DateTimeField(
            help_text="When the prompt closes; once approved, when the agent can no longer fetch its tokens."
        ),
    },
)
Problem = inline_serializer("Problem", {"error": serializers.CharField(), "error_description": serializers.CharField()})


def _shape(prompt: Prompt) -> dict[str, Any]:
    found = prompt.request
    return {
        "id": str(prompt.id),
        "state": _state(prompt),
        "agent": found.content["agent"],
        "agent_mark": found.agent.mark,
        "headline": headline(found.content),
        "content": found.content,
        "binding_message": found.binding_message,
        "assurance": found.assurance,
        "created_at": found.created_at.isoformat(),
        "expires_at": found.expires_at.isoformat(),
    }


def _state(prompt: Prompt) -> State:
    return state_at(State(prompt.request.state), prompt.request.expires_at, timezone.now())


class OwnPrompts(APIView):
    """Only a signed-in browser session; an agent's token opens nothing here."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (IsAuthenticated,)

    def user(self, request: Request) -> User:
        if not isinstance(request.user, User):
            raise TypeError("IsAuthenticated let somebody else in")
        return request.user


def _private(body: Any, status: int = 200) -> Response:
    return Response(body, status=status, headers={"Cache-Control": "no-store"})


def _problem(code: str, description: str, status: int) -> Response:
    return _private({"error": code, "error_description": description}, status)


UNKNOWN = ("not_found", "there is no such prompt for you", 404)


class Prompts(OwnPrompts):
    @extend_schema(
        operation_id="prompts", responses=inline_serializer("Prompts", {"prompts": type(PromptShape)(many=True)})
    )
    def get(self, request: Request) -> Response:
        """What waits for this person's answer, the most urgent first."""
        waiting = waiting_prompts(self.user(request), timezone.now())
        return _private({"prompts": [_shape(prompt) for prompt in waiting]})


class OnePrompt(OwnPrompts):
    @extend_schema(operation_id="prompt", responses={200: PromptShape, 404: Problem})
    def get(self, request: Request, prompt_id: UUID) -> Response:
        prompt = find_prompt(self.user(request), prompt_id)
        return _problem(*UNKNOWN) if prompt is None else _private(_shape(prompt))


class AnswerPrompt(OwnPrompts):
    """Answers as the signed-in person. The body is not read: nobody can be named in it."""

    approve: bool

    @extend_schema(request=None, responses={200: PromptShape, 401: Problem, 404: Problem, 409: Problem})
    def post(self, request: Request, prompt_id: UUID) -> Response:
        user = self.user(request)
        verdict = answer(request._request, user, prompt_id, approve=self.approve)
        prompt = find_prompt(user, prompt_id)
        if prompt is None or verdict is AnswerVerdict.UNKNOWN:
            return _problem(*UNKNOWN)
        if verdict is AnswerVerdict.SIGN_IN_AGAIN:
            return _problem("sign_in_again", "sign in again before you approve", 401)
        if verdict is not AnswerVerdict.COUNT:
            return _problem("not_pending", f"this prompt is {_state(prompt)} or out of time", 409)
        return _private(_shape(prompt))


class Approve(AnswerPrompt):
    approve = True


class Deny(AnswerPrompt):
    approve = False

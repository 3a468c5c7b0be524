"""What /v1/prompts answers."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from ciba.models import Prompt
from ciba.prompt_content import PromptContent, headline
from ciba.states import State, state_at
from foundation.serializers import TimeField
from operations.risk import Assurance


def state_of(prompt: Prompt, now: datetime) -> State:
    return state_at(State(prompt.request.state), prompt.request.expires_at, now)


class PromptSerializer(serializers.Serializer[Prompt]):
    """What one user is asked."""  # the serializer's context has `now`

    id = serializers.UUIDField()
    state = serializers.SerializerMethodField()
    agent = serializers.CharField(source="request.content.agent", help_text="The name of the agent.")
    agent_mark = serializers.CharField(
        source="request.agent.mark",
        help_text="To be shown beside the name of an agent that registered itself. Empty for other agents.",
    )
    headline = serializers.SerializerMethodField(help_text="One line, composed by the server.")
    content = serializers.SerializerMethodField(
        help_text="What the user approves, composed by the server from the validated operation."
    )
    binding_message = serializers.CharField(
        source="request.binding_message", help_text="The agent's own words. Nobody has verified them."
    )
    assurance = serializers.ChoiceField(
        [assurance.value for assurance in Assurance], source="request.assurance",
        help_text="How the user must prove that it is them.",
    )  # fmt: skip
    created_at = TimeField(source="request.created_at")
    expires_at = TimeField(
        source="request.expires_at",
        help_text="When the prompt closes. Of an approved prompt: until when the agent can fetch its tokens.",
    )

    def get_state(self, prompt: Prompt) -> State:
        return state_of(prompt, self.context["now"])

    def get_headline(self, prompt: Prompt) -> str:
        return headline(prompt.request.content)

    def get_content(self, prompt: Prompt) -> PromptContent:
        content: PromptContent = prompt.request.content
        return content


class PromptListSerializer(serializers.Serializer[Any]):
    prompts = PromptSerializer(many=True)

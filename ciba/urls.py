from django.urls import path, re_path

from ciba import api, pages
from ciba.endpoints import backchannel_authentication
from foundation.protocol_paths import protocol_path

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PROMPT = rf"^v1/prompts/(?P<prompt_id>{_UUID})"

urlpatterns = [
    protocol_path("bc-authorize", backchannel_authentication, name="bc-authorize"),
    re_path(r"^v1/prompts/?$", api.Prompts.as_view(), name="api-prompts"),
    re_path(r"^v1/prompts/events/?$", api.PromptEvents.as_view(), name="prompt-events"),
    re_path(rf"{_PROMPT}/?$", api.OnePrompt.as_view(), name="api-prompt"),
    re_path(rf"{_PROMPT}/approve/?$", api.Approve.as_view(), name="api-approve"),
    re_path(rf"{_PROMPT}/deny/?$", api.Deny.as_view(), name="api-deny"),
    path("", pages.inbox, name="inbox"),
    path("prompts/<uuid:prompt_id>", pages.prompt, name="prompt"),
    path("agents", pages.agents, name="agents"),
    path("agents/<int:agent_id>/stop", pages.stop_agent, name="stop-agent"),
    path("agents/<int:agent_id>/allow", pages.allow_agent, name="allow-agent"),
]

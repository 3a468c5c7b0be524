"""The user's pages: the inbox, one prompt, and the user's agents."""

from typing import assert_never
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import sessions
from accounts.models import User
from ciba import lifecycle
from ciba.decisions import answer, find_prompt, prompts_of, waiting_prompts
from ciba.models import BackchannelRequest, Prompt
from ciba.policy import AnswerVerdict
from ciba.prompt_content import headline, is_long
from ciba.states import State
from clients import lifecycle as agent_lifecycle
from clients.models import Agent
from clients.reachable_users import agents_that_may_ask
from oauth.grants import grant_tree

MAX_RECENT_REQUESTS = 10


def _user(request: HttpRequest) -> User:
    user = sessions.signed_in_user(request)
    if user is None:
        raise Http404
    return user


@never_cache
@login_required
@require_safe
def inbox(request: HttpRequest) -> HttpResponse:
    """Open prompts and recent answers.

    `?part=list` returns only the list, for the page's own refresh.
    """
    user, now = _user(request), timezone.now()
    waiting = list(waiting_prompts(user, now))
    recent = (
        prompts_of(user).exclude(pk__in=[p.pk for p in waiting]).order_by("-request__created_at")[:MAX_RECENT_REQUESTS]
    )
    context = {"waiting": [_row(p) for p in waiting], "recent": [_row(p) for p in recent], "now": now}
    part = request.GET.get("part") == "list"
    return render(request, "ciba/inbox_list.html" if part else "ciba/inbox.html", context)


def _row(prompt: Prompt) -> dict[str, object]:
    return {"prompt": prompt, "ciba_request": prompt.request, "headline": headline(prompt.request.content)}


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def prompt(request: HttpRequest, prompt_id: UUID) -> HttpResponse:
    """GET shows the prompt and changes nothing.

    POST with `answer` (approve or deny) answers it as the signed-in user.
    """
    user = _user(request)
    found = find_prompt(user, prompt_id)
    if request.method != "POST":
        return _render_prompt(request, found) if found else render(request, "ciba/prompt_unknown.html", status=404)
    choice = request.POST.get("answer")
    if choice not in ("approve", "deny"):
        return render(request, "ciba/prompt_unclear.html", {"prompt_id": prompt_id}, status=400)
    return _answered(request, prompt_id, answer(request, user, prompt_id, approve=choice == "approve"))


def _render_prompt(request: HttpRequest, prompt: Prompt) -> HttpResponse:
    now = timezone.now()
    found = prompt.request
    context = {
        **slip_of(found),
        "prompt": prompt,
        "is_open": found.state == State.PENDING and found.expires_at > now,
        "must_sign_in": not sessions.is_recent(sessions.signed_in_at(request), now),
        "sign_in_url": _sign_in_for(prompt.id),
        "now": now,
    }
    return render(request, "ciba/prompt.html", context)


def slip_of(found: BackchannelRequest) -> dict[str, object]:
    """The text of a prompt, for ciba/slip.html."""
    return {
        "ciba_request": found,
        "content": found.content,
        "headline": headline(found.content),
        "lifetime": in_words(found.grant_lifetime),
        "is_long": is_long(found.content),
    }


def in_words(seconds: int) -> str:
    """A duration in words: 45 seconds, 10 minutes, 2 hours, 90 days."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0 and seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def _sign_in_for(prompt_id: UUID) -> str:
    return f"{reverse('login')}?{urlencode({'next': reverse('prompt', args=[prompt_id])})}"


def _answered(request: HttpRequest, prompt_id: UUID, verdict: AnswerVerdict) -> HttpResponse:
    match verdict:
        case AnswerVerdict.COUNT | AnswerVerdict.ANSWERED | AnswerVerdict.TOO_LATE:
            return redirect("prompt", prompt_id=prompt_id)  # the prompt's page shows the outcome
        case AnswerVerdict.SIGN_IN_AGAIN:
            return redirect(_sign_in_for(prompt_id))
        case AnswerVerdict.UNKNOWN:
            return render(request, "ciba/prompt_unknown.html", status=404)
        case _:
            assert_never(verdict)


@never_cache
@login_required
@require_safe
def agents(request: HttpRequest) -> HttpResponse:
    """The agents that may ask this user, and the agents that the user has stopped."""
    user, now = _user(request), timezone.now()
    lines = grant_tree.list_grants(user, now)
    known = list(agents_that_may_ask(user))
    held = {agent.pk: [line for line in lines if line.grant.agent_id == agent.pk] for agent in known}
    rows = [
        {
            "agent": agent,
            "grants": held[agent.pk],
            "usable": sum(not line.is_used_up for line in held[agent.pk]),
        }
        for agent in known
    ]
    # Agents that may no longer ask: their grants are shown until they end.
    others = [line for line in lines if line.grant.agent_id not in {agent.pk for agent in known}]
    return render(request, "ciba/agents.html", {"rows": rows, "others": others})


@login_required
@require_POST
def stop_agent(request: HttpRequest, agent_id: int) -> HttpResponse:
    """Ends every open request, approval and grant of this agent for this user, and forbids it to
    ask again.
    """
    user = _user(request)
    agent = get_object_or_404(agents_that_may_ask(user), pk=agent_id)
    lifecycle.stop_agent(Agent.objects.get(pk=agent.pk), user, timezone.now())
    return redirect("agents")


@login_required
@require_POST
def allow_agent(request: HttpRequest, agent_id: int) -> HttpResponse:
    user = _user(request)
    agent = get_object_or_404(agents_that_may_ask(user), pk=agent_id)
    agent_lifecycle.allow_again(agent, user, timezone.now())
    return redirect("agents")

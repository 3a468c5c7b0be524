"""The stream of GET /v1/prompts/events: tells the user's open page that something changed, by server-sent events.

An event carries no data. The page then fetches the list as its signed-in user.
"""

from django.http import HttpRequest, HttpResponse

from accounts import sessions
from accounts.models import User
from ciba.topics import prompts_topic
from foundation.pending_answers import Stream, can_wait, park, watch


def open_event_stream(request: HttpRequest, user: User) -> HttpResponse:
    """The stream of the signed-in `user`, which ends with the session of the request."""
    if not can_wait(request):
        return HttpResponse(status=204)  # HTML, server-sent events: the browser does not reconnect
    recheck, *ends = watch(prompts_topic(user), *sessions.topics(request))
    # nginx would buffer the response and hold back the events; this header prevents it.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = HttpResponse(content_type="text/event-stream", headers=headers)
    return park(response, Stream(recheck, ends, holder=str(user.pk)))

"""GET /v1/prompts/events: tells a person's open page that something changed, as server-sent events.

An event says "look again" and nothing else; the page then fetches the list as the person that it is signed in as.
"""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from accounts import sessions
from ciba.watching import prompts_topic
from foundation.endpoint import json_response
from foundation.waiting import Stream, can_wait, park, watch


@require_GET
def events(request: HttpRequest) -> HttpResponse:
    person = sessions.person(request)
    if person is None:
        return json_response({"error": "not_signed_in", "error_description": "sign in first"}, 401)
    if not can_wait(request):
        return HttpResponse(status=204)  # HTML, server-sent events: the browser does not come back
    look, *ends = watch(prompts_topic(person), *sessions.topics(request))
    # Proxies that collect an answer before they pass it on would keep the events: nginx is told not to.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = HttpResponse(content_type="text/event-stream", headers=headers)
    return park(response, Stream(look, ends, holder=str(person.pk)))

"""The Prefer header (RFC 7240): what counts as a wish to wait."""

from datetime import datetime, timedelta

import pytest
from django.test import RequestFactory
from django.utils import timezone

from foundation.pending_answers import FRONT, Wait, Watch, parked
from oauth.token_endpoint.long_poll import AnswerPending, PendingAnswer, hold_response, preferred_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("wait=10", 10, id="seconds"),
        pytest.param("respond-async, wait=10", 10, id="beside another preference"),
        pytest.param("WAIT = 10 ; handling=strict", 10, id="any case, white space, parameters"),
        pytest.param('wait="10"', 10, id="quoted"),
        pytest.param("wait=5, wait=10", 5, id="the first one counts"),
        pytest.param("", 0, id="nothing"),
        pytest.param("wait", 0, id="no value"),
        pytest.param("wait=", 0, id="an empty value"),
        pytest.param("wait=-1", 0, id="a negative one"),
        pytest.param("wait=1.5", 0, id="a fraction"),
        pytest.param("wait=99999999999999999999", 0, id="more digits than anybody waits"),
        pytest.param("wait=\u0661", 0, id="digits of another script"),
        pytest.param("await=10", 0, id="another name"),
        pytest.param("handling=wait=10", 0, id="in another's value"),
    ],
)
def test_preferred_wait(header: str, seconds: int) -> None:
    assert preferred_wait(header) == seconds


class Pending(AnswerPending):
    code = "pending"


@pytest.mark.parametrize(("prefer", "seconds"), [("wait=600", 30), ("wait=30", 30), ("wait=2", 2)])
def test_nobody_is_held_longer_than_thirty_seconds(prefer: str, seconds: int) -> None:
    now, begun = timezone.now(), list[datetime]()
    answer = Pending()
    answer.pending = PendingAnswer(Watch("request:1", "pending"), now + timedelta(hours=1), begun.append, lambda: None)
    request = RequestFactory().post("/oauth/token", headers={"Prefer": prefer}, **{FRONT: True})
    held = hold_response(request, answer, None, now)
    assert held is not None
    wait = parked(held)
    assert isinstance(wait, Wait) and wait.seconds == seconds
    assert begun == [now + timedelta(seconds=seconds)]

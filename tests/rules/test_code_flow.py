"""The pure rules of the code flow, as tables of sentences."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clients import redirects
from foundation.errors import InvalidRequest, ProtocolError
from oauth.authorization.interaction import Interaction, InteractionFacts, judge_interaction, needs_sign_in_since
from oauth.authorization.parameters import AuthorizationParameters, parse_parameters, parse_query
from oauth.token_endpoint.redemption import (
    RedemptionFacts,
    RedemptionVerdict,
    RotationFacts,
    SettlingFacts,
    judge_code,
    judge_refresh,
    must_rotate,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO, JUST_NOW = NOW - timedelta(hours=10), NOW - timedelta(seconds=5)

INTERACTIONS: list[tuple[str, dict[str, Any], set[str], Interaction]] = [
    ("nobody is signed in", {"signed_in_at": None}, set(), Interaction.SIGN_IN),
    ("nobody is signed in, silently", {"signed_in_at": None}, {"none"}, Interaction.LOGIN_REQUIRED),
    ("signed in, consented before", {"is_remembered": True}, set(), Interaction.REUSE_CONSENT),
    ("the same, silently", {"is_remembered": True}, {"none"}, Interaction.REUSE_CONSENT),
    ("the same, but asked to ask", {"is_remembered": True}, {"consent"}, Interaction.ASK),
    ("not consented before", {}, set(), Interaction.ASK),
    ("the same, silently", {}, {"none"}, Interaction.CONSENT_REQUIRED),
    ("not recently enough to consent", {"may_consent": False}, set(), Interaction.SIGN_IN),
    ("that, but consented before", {"may_consent": False, "is_remembered": True}, set(), Interaction.REUSE_CONSENT),
    ("too old a sign-in", {"needs_sign_in_since": NOW}, set(), Interaction.SIGN_IN),
    ("the same, silently", {"needs_sign_in_since": NOW, "is_remembered": True}, {"none"}, Interaction.LOGIN_REQUIRED),
    ("stopped by the user", {"is_stopped": True, "is_remembered": True}, set(), Interaction.STOPPED),
    ("stopped, silently", {"is_stopped": True}, {"none"}, Interaction.STOPPED),
    ("somebody else, from before", {"is_requested_user": False}, set(), Interaction.SIGN_IN),
    ("somebody else, silently", {"is_requested_user": False}, {"none"}, Interaction.LOGIN_REQUIRED),
    ("somebody else, signed in for this", {"is_requested_user": False, "signed_in_at": NOW + timedelta(seconds=9)},
     set(), Interaction.LOGIN_REQUIRED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "prompts", "verdict"), [case[1:] for case in INTERACTIONS], ids=[case[0] for case in INTERACTIONS]
)
def test_interaction(changed: dict[str, Any], prompts: set[str], verdict: Interaction) -> None:
    facts: dict[str, Any] = {
        "requested_at": NOW, "signed_in_at": JUST_NOW, "needs_sign_in_since": None, "is_requested_user": True,
        "is_stopped": False, "is_remembered": False, "may_consent": True, **changed,
    }  # fmt: skip
    assert judge_interaction(InteractionFacts(**facts), frozenset(prompts)) is verdict


def sent(**parameters: str) -> AuthorizationParameters:
    given = {"response_type": "code", "code_challenge": "x" * 43, "code_challenge_method": "S256", **parameters}
    return parse_parameters(parse_query("&".join(f"{name}={value}" for name, value in given.items())))


@pytest.mark.parametrize(
    ("parameters", "acr_age", "since"),
    [
        ({}, None, None),
        ({"prompt": "login"}, None, NOW),
        ({"prompt": "select_account"}, None, NOW),
        ({"prompt": "consent"}, None, None),
        ({"max_age": "60"}, None, NOW - timedelta(seconds=60)),
        ({"max_age": "0"}, None, NOW),
        ({"max_age": "60", "prompt": "login"}, None, NOW),
        ({"max_age": "9999999999"}, timedelta(seconds=900), NOW - timedelta(seconds=900)),
    ],
)
def test_how_old_a_sign_in_may_be(
    parameters: dict[str, str], acr_age: timedelta | None, since: datetime | None
) -> None:
    assert needs_sign_in_since(sent(**parameters), NOW, acr_age) == since


GOOD: dict[str, Any] = {
    "is_own": True, "is_used": False, "expires_at": NOW + timedelta(seconds=1), "is_alive": True, "proves_key": True,
}  # fmt: skip
REDEMPTIONS: list[tuple[str, dict[str, Any], RedemptionVerdict]] = [
    ("its own, unused, in time, alive", {}, RedemptionVerdict.ISSUE),
    ("another agent's", {"is_own": False}, RedemptionVerdict.UNKNOWN),
    ("another agent's, used", {"is_own": False, "is_used": True}, RedemptionVerdict.UNKNOWN),
    ("used", {"is_used": True}, RedemptionVerdict.USED_AGAIN),
    ("used, and expired since", {"is_used": True, "expires_at": LONG_AGO}, RedemptionVerdict.USED_AGAIN),
    ("used, and its grant has ended", {"is_used": True, "is_alive": False}, RedemptionVerdict.USED_AGAIN),
    ("expired at this very moment", {"expires_at": NOW}, RedemptionVerdict.EXPIRED),
    ("of a grant that has ended", {"is_alive": False}, RedemptionVerdict.DEAD),
    ("bound to another's key", {"proves_key": False}, RedemptionVerdict.WRONG_KEY),
    (
        "bound to another's key, and used: the second use counts",
        {"proves_key": False, "is_used": True},
        RedemptionVerdict.USED_AGAIN,
    ),
]


@pytest.mark.parametrize(("changed", "verdict"), [c[1:] for c in REDEMPTIONS], ids=[c[0] for c in REDEMPTIONS])
def test_redemption(changed: dict[str, Any], verdict: RedemptionVerdict) -> None:
    facts = RedemptionFacts(**{**GOOD, **changed})
    assert judge_refresh(facts, None, NOW) is verdict
    assert judge_code(facts, NOW, redirect_matches=True, verifier_matches=True) is verdict
    if (
        verdict is not RedemptionVerdict.ISSUE
    ):  # what is wrong with the proof is told to nobody but the code's own agent
        assert judge_code(facts, NOW, redirect_matches=False, verifier_matches=False) is verdict


REPEATS: list[tuple[str, float, dict[str, Any], RedemptionVerdict]] = [
    ("at once", 0, {}, RedemptionVerdict.REPEAT),
    ("at the last moment", 29.9, {}, RedemptionVerdict.REPEAT),
    ("after 30 seconds", 30, {}, RedemptionVerdict.USED_AGAIN),
    ("on a server whose clock is behind", -2, {}, RedemptionVerdict.REPEAT),
    ("after the successor was used", 5, {"is_used": True}, RedemptionVerdict.USED_AGAIN),
    ("by another key", 5, {"proves_key": False}, RedemptionVerdict.USED_AGAIN),
    ("by another agent", 5, {"is_own": False}, RedemptionVerdict.UNKNOWN),
    ("after the user ended the successor", 5, {"expires_at": NOW}, RedemptionVerdict.EXPIRED),
    ("after the grant ended", 5, {"is_alive": False}, RedemptionVerdict.DEAD),
]


@pytest.mark.parametrize(("seconds", "changed", "verdict"), [c[1:] for c in REPEATS], ids=[c[0] for c in REPEATS])
def test_a_second_use_of_a_refresh_token(seconds: float, changed: dict[str, Any], verdict: RedemptionVerdict) -> None:
    used = RedemptionFacts(**{**GOOD, **changed, "is_used": True})
    rotation = RotationFacts(NOW - timedelta(seconds=seconds), RedemptionFacts(**{**GOOD, **changed}))
    assert judge_refresh(used, rotation, NOW) is verdict


def rotates(
    since: float | None = None, given: float = 1000, *, profile_rotates: bool = True, changes_key: bool = False
) -> bool:
    at = [NOW - timedelta(seconds=seconds) for seconds in (since or 0, min(given, since or 0))]
    settling = None if since is None else SettlingFacts(*at)
    return must_rotate(settling, NOW, profile_rotates=profile_rotates, changes_key=changes_key)


def test_when_a_refresh_token_is_rotated() -> None:
    assert rotates(), "the first of a grant"
    assert rotates(60), "one that the others had time to repeat and to store"
    assert not rotates(59.9) and not rotates(0), "one that others may still be about to get"
    assert not rotates(90, given=29.9) and rotates(90, given=30), "one that another process may not have stored yet"
    assert rotates(600, given=0), "but not for ever"
    assert rotates(5, changes_key=True), "one that gets bound to a key"
    assert not rotates(profile_rotates=False) and not rotates(1000, profile_rotates=False), "FAPI 2.0 5.3.2.1"


def test_redemption_of_a_code() -> None:
    facts = RedemptionFacts(**GOOD)
    assert judge_code(None, NOW, redirect_matches=True, verifier_matches=True) is RedemptionVerdict.UNKNOWN
    assert judge_code(facts, NOW, redirect_matches=False, verifier_matches=True) is RedemptionVerdict.WRONG_REDIRECT
    assert judge_code(facts, NOW, redirect_matches=True, verifier_matches=False) is RedemptionVerdict.WRONG_VERIFIER


@pytest.mark.parametrize(
    ("requested_scope", "registered", "is_one"),
    [
        ("https://a.example/cb", "https://a.example/cb", True),
        ("https://a.example/cb", "https://a.example/cb?x=1", False),
        ("https://a.example:8443/cb", "https://a.example/cb", False),
        ("https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb", False),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:2/cb", True),
        ("http://[::1]:1/cb", "http://[::1]/cb", True),
        ("http://localhost:1/cb", "http://localhost/cb", True),
        ("http://localhost:1/cb", "http://127.0.0.1/cb", False),
        ("http://127.0.0.1:1/cb/", "http://127.0.0.1/cb", False),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/", True),
        ("http://localhost:3000/", "http://localhost:3000", True),
        ("http://[::1]/", "http://[::1]:9", True),
        ("http://localhost:3000?a=1", "http://localhost/?a=1", True),
        ("http://localhost:3000//", "http://localhost:3000", False),
        ("http://localhost:3000/?", "http://localhost:3000", False),
        ("http://LOCALHOST:3000/", "http://localhost:3000/", False),
        ("http://localhost:3000/%2F", "http://localhost:3000", False),
        ("https://a.example", "https://a.example/", False),
        ("https://a.example/", "https://a.example", False),
        ("https://a.example:443/cb", "https://a.example/cb", False),
        ("https://localhost", "https://localhost/", False),
        ("com.example.app:/cb", "com.example.app:/cb", True),
        ("com.example.app:/cb", "com.example.other:/cb", False),
    ],
)
def test_redirect_uris(requested_scope: str, registered: str, is_one: bool) -> None:
    assert redirects.is_registered(requested_scope, [registered]) is is_one


def test_a_query_is_read_once() -> None:
    query = parse_query("a=1&b=2&a=3&c=")
    assert query.parameters == {"a": "1", "b": "2"} and query.repeated == {"a"}
    for text in ("a=%ff", "a=%00", "x" * 20_000, "&".join(f"a{n}=1" for n in range(101))):
        with pytest.raises(InvalidRequest):
            parse_query(text)


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ('{"id_token":{"acr":{"essential":true,"values":["session","x"]}}}', (("session", "x"), True)),
        ('{"id_token":{"acr":{"values":["x"]}}}', (("x",), False)),
        ('{"id_token":{"acr":{"essential":true}}}', ((), False)),
        ('{"id_token":{"acr":null},"userinfo":{"email":{"essential":true}}}', ((), False)),
        ('{"userinfo":{"acr":{"value":"y","essential":true}}}', (("y",), True)),
        ("{}", ((), False)),
    ],
)
def test_what_claims_want(claims: str, wanted: tuple[tuple[str, ...], bool]) -> None:
    found = sent(claims=claims)
    assert (found.requested_acr, found.acr_is_essential) == wanted


def test_one_sub_or_none() -> None:
    assert sent(claims='{"id_token":{"sub":{"value":"a"}},"userinfo":{"sub":{"value":"a"}}}').requested_sub == "a"
    for claims in (
        '{"id_token":{"sub":{"value":"a"}},"userinfo":{"sub":{"value":"b"}}}',
        '{"id_token":{"sub":{"value":1}}}',
    ):
        with pytest.raises(ProtocolError):
            sent(claims=claims)

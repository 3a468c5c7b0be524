"""What a client says of itself: which parts are dropped, and what is refused. Pure."""

from dataclasses import replace
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey

from clients.client_metadata import CIBA, ClientMetadata, Offer, parse_metadata
from clients.errors import InvalidClientMetadata, InvalidRedirectUri
from clients.uris import problem_with_scheme
from foundation.errors import ProtocolError
from tests.support.keys import new_key

REDIRECT = "https://client.example.com/callback"
OFFER = Offer(
    grant_types=["authorization_code", "refresh_token", "client_credentials", CIBA],
    auth_methods=["private_key_jwt", "none"],
    choices={
        "id_token_signed_response_alg": ("RS256", "ES256", "PS256"),
        "dpop_bound_access_tokens": (False, True),
        "backchannel_token_delivery_mode": ("poll", "ping", "push"),
        "backchannel_authentication_request_signing_alg": ("", "ES256"),
        "backchannel_user_code_parameter": (False, True),
    },
    public_instead=("client_secret_basic", "client_secret_post"),
    schemes=("vscode", "cursor"),
)


def parse(offer: Offer = OFFER, **more: Any) -> ClientMetadata:
    return parse_metadata({"client_name": "Client", "redirect_uris": [REDIRECT]} | more, offer)


def public(key: Any, **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **more}


EC, RSA, OKP = (new_key(name) for name in ("ES256", "PS256", "EdDSA"))
USABLE = public(EC, kid="a")
UNUSABLE: dict[str, Any] = {
    "an encryption key": public(ECKey.generate_key("P-256"), kid="e", use="enc"),
    "an RSA key to encrypt with": public(RSA, kid="e", alg="RSA-OAEP"),
    "a key to wrap others with": public(RSA, kid="e", key_ops=["wrapKey"]),
    "a P-521 key": public(ECKey.generate_key("P-521"), kid="e"),
    "a P-384 key": public(ECKey.generate_key("P-384"), kid="e"),
    "a small RSA key": {"kty": "RSA", "kid": "e", "e": "AQAB", "n": "_" * 171},
    "an unknown kind": {"kty": "AKP", "kid": "e", "pub": "x"},
    "no key": "x",
    "nothing": None,
}


@pytest.mark.parametrize("other", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_key_beside_usable_ones_is_dropped(other: Any) -> None:
    found = parse(jwks={"keys": [other, USABLE]})
    assert found.jwks == {"keys": [USABLE]}
    assert found.token_endpoint_auth_method == "private_key_jwt"


@pytest.mark.parametrize("other", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_keys_alone_do_not_make_a_public_client(other: Any) -> None:
    """It wants to prove who it is. A client that says that it does not is taken, without them."""
    for more in ({}, {"token_endpoint_auth_method": "private_key_jwt"}):
        with pytest.raises(InvalidClientMetadata):
            parse(jwks={"keys": [other]}, **more)
    assert parse(jwks={"keys": [other]}, token_endpoint_auth_method="none").jwks is None


@pytest.mark.parametrize("method", [None, "none", "private_key_jwt", "client_secret_basic"])
@pytest.mark.parametrize(
    "secret", [EC.as_dict(private=True), RSA.as_dict(private=True), OctKey.generate_key(256).as_dict()]
)
def test_a_private_key_refuses_the_whole(secret: dict[str, Any], method: str | None) -> None:
    with pytest.raises(InvalidClientMetadata) as refused:
        parse(jwks={"keys": [USABLE, secret]}, token_endpoint_auth_method=method)
    assert "private or symmetric" in refused.value.description


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("client_uri", ["http://localhost:3080", "javascript:alert(1)", "https://a@b.example/", 7, ["https://x.example"]]),
        ("logo_uri", ["data:image/png;base64,x", "http://10.0.0.1/x.png", {"a": 1}, "x" * 2000]),
        ("tos_uri", ["x", "//evil.example/", "https://client.example.com/#x", True]),
        ("policy_uri", ["file:///etc/passwd", "https://", 1.5, [[]]]),
        ("software_id", ["x" * 201, "\u2066", {"a": 1}, 7]),
        ("software_version", ["a\nb", "\u202e", 2, None]),
        ("contacts", ["a@example.com", ["\u202e"], [7], {"a": 1}, []]),
        ("default_acr_values", ["x", ["urn:mace:incommon:iap:silver"], 7]),
    ],
)  # fmt: skip
def test_an_unusable_part_about_the_client_is_dropped(name: str, values: list[Any]) -> None:
    for value in values:
        assert parse(**{name: value}) == parse(), value


@pytest.mark.parametrize(
    "name",
    ["x" * 61, "Claude \ufe0f", "\u202eevil", "zero\u200bwidth", "a\nb", "e\u0301", "\u0430pple", 7, ["x"], {"a": "x"},
     "  "],
)  # fmt: skip
def test_an_unusable_name_gives_way_to_the_host(name: Any) -> None:
    assert parse(client_name=name).name == "client.example.com"
    assert parse(client_name=name, redirect_uris=["http://localhost/cb"]).name == "Unnamed agent"


@pytest.mark.parametrize(
    "bad",
    ["http://client.example.com/cb", "javascript:alert(1)", "data:text/html,x", "https://a@client.example.com/",
     "vscodium:/cb", "com.example.app",
     "https://client.example.com/#x", "https://*.example.com/", "x", "", "\u00e9", 7, None, [REDIRECT],
     {"a": 1}, "x" * 2000],
)  # fmt: skip
def test_an_unusable_redirect_uri_beside_good_ones_is_dropped(bad: Any) -> None:
    assert parse(redirect_uris=[bad, REDIRECT, bad]).redirect_uris == [REDIRECT]
    assert parse(post_logout_redirect_uris=[bad, f"{REDIRECT}/out"]).post_logout_redirect_uris == [f"{REDIRECT}/out"]
    with pytest.raises(InvalidRedirectUri):
        parse(redirect_uris=[bad])
    keyed = parse(redirect_uris=[bad], grant_types=["client_credentials"], jwks={"keys": [USABLE]})
    assert keyed.redirect_uris == []


@pytest.mark.parametrize("kind", ["desktop", 7, ["web"], {"a": 1}])
def test_an_unknown_application_type_is_inferred(kind: Any) -> None:
    assert parse(application_type=kind).application_type == "web"
    assert parse(application_type=kind, redirect_uris=["com.example.app:/cb"]).application_type == "native"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "EdDSA", ["ES256"], 7])
def test_an_id_token_algorithm_that_is_not_offered_gives_way_to_rs256(algorithm: Any) -> None:
    assert parse(id_token_signed_response_alg=algorithm).choices["id_token_signed_response_alg"] == "RS256"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "PS256"])
def test_an_id_token_algorithm_that_is_offered_is_taken(algorithm: str) -> None:
    assert parse(id_token_signed_response_alg=algorithm).choices["id_token_signed_response_alg"] == algorithm


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_secret_that_is_not_given_makes_a_public_client(method: str) -> None:
    """Metadata announces the method, and other clients have it. The answer says `none`."""
    found = parse(token_endpoint_auth_method=method, grant_types=["authorization_code", "client_credentials", CIBA])
    assert (found.token_endpoint_auth_method, found.grant_types) == ("none", ["authorization_code"])
    with pytest.raises(InvalidClientMetadata):
        parse(token_endpoint_auth_method=method, grant_types=["client_credentials", "refresh_token"])
    with pytest.raises(InvalidClientMetadata):  # a document: the draft forbids it
        parse(replace(OFFER, public_instead=()), token_endpoint_auth_method=method)
    allowed = replace(OFFER, public_instead=(), auth_methods=[method, "none"])
    assert parse(allowed, token_endpoint_auth_method=method).token_endpoint_auth_method == method


@pytest.mark.parametrize(
    "sent", [["authorization_code", CIBA], ["client_credentials", "authorization_code", 7, "implicit"]]
)
def test_grant_types_that_a_public_client_may_not_have_are_dropped(sent: list[Any]) -> None:
    assert parse(grant_types=sent).grant_types == ["authorization_code"]


@pytest.mark.parametrize("algorithm", ["RS512", "HS256", "none", "ES384", 7, ["ES256"]])
def test_assertions_that_would_be_refused_later_are_refused_now(algorithm: Any) -> None:
    with pytest.raises(InvalidClientMetadata):
        parse(jwks={"keys": [USABLE]}, token_endpoint_auth_signing_alg=algorithm)
    assert parse(token_endpoint_auth_signing_alg=algorithm).token_endpoint_auth_method == "none"


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "RS256", "EdDSA"])
def test_assertions_that_work_later_are_taken(algorithm: str) -> None:
    parse(jwks={"keys": [USABLE]}, token_endpoint_auth_signing_alg=algorithm)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"dpop_bound_access_tokens": 1}, id="a binding that is no boolean"),
        pytest.param({"dpop_bound_access_tokens": "true"}, id="a binding as a text"),
        pytest.param({"backchannel_user_code_parameter": 1}, id="user codes that are no boolean"),
        pytest.param({"subject_type": "pairwise"}, id="privacy that is not done here"),
        pytest.param({"id_token_encrypted_response_alg": "RSA-OAEP"}, id="encryption that is not done here"),
        pytest.param({"default_max_age": 60}, id="a sign-in's age that nobody checks"),
        pytest.param({"token_endpoint_auth_method": "client_secret_jwt"}, id="another authentication"),
        pytest.param({"token_endpoint_auth_method": "tls_client_auth"}, id="a certificate, without mutual TLS"),
        pytest.param({"token_endpoint_auth_method": ["none"]}, id="a list of methods"),
        pytest.param({"jwks": {"keys": [USABLE]}, "jwks_uri": "https://x.example/"}, id="keys and their address"),
        pytest.param({"jwks_uri": "http://client.example.com/jwks"}, id="an address of keys without https"),
        pytest.param({"jwks_uri": "https://client.example.com/#x"}, id="an address of keys with a fragment"),
        pytest.param({"response_types": ["token"]}, id="no usable response type"),
        pytest.param({"grant_types": ["refresh_token"]}, id="nothing to refresh"),
        pytest.param({"grant_types": ["password"]}, id="no usable grant type"),
    ],
)
def test_a_security_rule_refuses_the_whole(more: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse(**more)


def test_deliveries_of_ciba() -> None:
    keyed = {"jwks": {"keys": [USABLE]}, "grant_types": [CIBA]}
    with pytest.raises(InvalidClientMetadata):
        parse(**keyed, backchannel_token_delivery_mode="push")
    with pytest.raises(InvalidClientMetadata):
        parse(
            **keyed,
            backchannel_token_delivery_mode="ping",
            backchannel_client_notification_endpoint="http://x.example/",
        )
    with pytest.raises(InvalidClientMetadata):
        parse(**keyed, backchannel_token_delivery_mode="shout")
    for useless in ("http://10.0.0.1/", 7, "x"):
        assert parse(**keyed, backchannel_client_notification_endpoint=useless).notification_endpoint == ""
    without = parse(backchannel_token_delivery_mode="push")
    assert without.choices["backchannel_token_delivery_mode"] == "poll", "a client without CIBA has no deliveries"


class TestPrivateUseSchemes:
    """A scheme without a dot is for native public clients, where the setting lists it. Their codes need PKCE."""

    @pytest.mark.parametrize(
        "uri", ["vscode://vscode.dev/redirect", "cursor://anysphere.cursor-mcp/oauth/callback", "vscode:/cb"]
    )
    def test_listed(self, uri: str) -> None:
        found = parse(redirect_uris=[uri])
        assert (found.redirect_uris, found.application_type) == ([uri], "native")
        assert parse(redirect_uris=[uri], post_logout_redirect_uris=[uri]).post_logout_redirect_uris == [uri]
        for more in (
            {"application_type": "web"},
            {"jwks": {"keys": [USABLE]}},
            {"jwks": {"keys": [USABLE]}, "grant_types": ["authorization_code", CIBA]},
        ):
            with pytest.raises(InvalidRedirectUri):
                parse(redirect_uris=[uri], **more)
            assert parse(redirect_uris=[uri, REDIRECT], **more).redirect_uris == [REDIRECT]

    @pytest.mark.parametrize(
        "uri",
        ["windsurf:/cb", "vscode-insiders:/cb", "VSCODE:/cb", "vscode :/cb", "vscode", "vscod\u0435:/cb", "vscode://a@b/cb",
         "vscode:/cb#x", "vscode:/../cb", "vscode://x/<script>"],
    )  # fmt: skip
    def test_not_listed_or_not_plain(self, uri: str) -> None:
        with pytest.raises(InvalidRedirectUri):
            parse(redirect_uris=[uri])

    @pytest.mark.parametrize(
        "scheme",
        ["javascript", "data", "blob", "file", "about", "intent", "vbscript", "view-source", "chrome",
         "chrome-extension",
         "moz-extension", "ms-settings", "search-ms", "ws", "wss", "ftp", "http", "https", "mailto", "tel", "sms",
         "filesystem", "x-apple-systempreferences", "itms-services", "android-app", "ssh", "smb", "urn"],
    )  # fmt: skip
    def test_what_a_browser_or_system_handles_is_never_one(self, scheme: str) -> None:
        """Not by the setting, and not by a list that came past its check."""
        assert problem_with_scheme(scheme) == "browsers or operating systems handle this scheme"
        for uri in (f"{scheme}:alert(1)", f"{scheme}://x/cb"):
            if uri != "https://x/cb":
                with pytest.raises(InvalidRedirectUri):
                    parse(replace(OFFER, schemes=(scheme,)), redirect_uris=[uri])

    @pytest.mark.parametrize(
        "scheme", ["", "c", "VSCode", "vscode:", "vscode://", "com.example.app", "v\u00e9", "1x", "a b", "*"]
    )
    def test_what_is_no_scheme_without_a_dot(self, scheme: str) -> None:
        assert problem_with_scheme(scheme)

    @pytest.mark.parametrize(
        "scheme", ["vscode", "vscode-insiders", "cursor", "windsurf", "zed", "x-editor", "operate"]
    )
    def test_what_the_setting_may_list(self, scheme: str) -> None:
        assert problem_with_scheme(scheme) is None

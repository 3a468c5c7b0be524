"""django-oauth-toolkit as it comes, with its own models and endpoints, in a process of its own: which of the known
defects does it show? Prints JSON, defect → whether it was seen. Run by test_toolkit_defects.py; a `false` there means
that a newer version mended it, or that the probe is wrong: then the probe is looked at, and perhaps our reason to be.
"""

import hashlib
import json
import secrets
import sys
import warnings
from base64 import b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import django
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings

warnings.simplefilter("ignore")
KEY = rsa.generate_private_key(65537, 2048).private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)
settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="plain_toolkit_urls",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "oauth2_provider",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    LOGIN_URL="/login",
    OAUTH2_PROVIDER={
        "OIDC_ENABLED": True,
        "OIDC_RSA_PRIVATE_KEY": KEY.decode(),
        "SCOPES": {"read": "Read", "write": "Write", "openid": "OpenID", "introspection": "Introspect"},
    },
    USE_TZ=True,
)  # fmt: skip
django.setup()

from types import ModuleType  # noqa: E402 - after the settings

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db.models.signals import post_save  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path  # noqa: E402
from oauth2_provider.models import AccessToken, Application, Grant  # noqa: E402
from oauth2_provider.views.generic import ProtectedResourceView  # noqa: E402

SECRET, CALLBACK = "s" * 60, "https://app.example.com/callback"


class Protected(ProtectedResourceView):  # type: ignore[misc]
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("secret things")


urls = ModuleType("plain_toolkit_urls")
urls.urlpatterns = [  # type: ignore[attr-defined]
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("protected", Protected.as_view()),
]
sys.modules["plain_toolkit_urls"] = urls


def make(name: str, **fields: Any) -> Application:
    fields = {
        "client_type": "confidential", "authorization_grant_type": "authorization-code", "client_secret": SECRET,
        "redirect_uris": CALLBACK, "algorithm": "RS256", **fields,
    }  # fmt: skip
    return Application.objects.create(name=name, **fields)


def basic(client: Application, secret: str = SECRET) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{client.client_id}:{secret}".encode()).decode()}


class Flow:
    """One run of the code flow by one application."""

    def __init__(self, client: Application, user: User) -> None:
        self.client, self.verifier = client, secrets.token_urlsafe(48)
        self.browser = Client(raise_request_exception=False)
        self.browser.force_login(user)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        self.parameters = {
            "response_type": "code", "client_id": client.client_id, "redirect_uri": CALLBACK, "scope": "read openid",
            "state": "s", "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }  # fmt: skip

    def get(self, **more: str) -> Any:
        return self.browser.get(f"/o/authorize/?{urlencode({**self.parameters, **more})}")

    def allow(self, **changed: str) -> str:
        response = self.browser.post("/o/authorize/", {**self.parameters, "allow": "Authorize", **changed})
        return dict(parse_qsl(urlsplit(response["Location"]).query))["code"]

    def exchange(self, code: str) -> Any:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return Client().post("/o/token/", {**form, "code_verifier": self.verifier}, headers=basic(self.client))

    def tokens(self) -> dict[str, Any]:
        return dict(self.exchange(self.allow()).json())


def bearer(token: str, path: str) -> int:
    return int(
        Client(raise_request_exception=False).get(path, headers={"Authorization": f"Bearer {token}"}).status_code
    )


def main() -> dict[str, bool]:
    call_command("migrate", verbosity=0)
    user = User.objects.create_user("user")
    web, other = make("web"), make("other")
    public = make("public", client_type="public")
    service = make("service", authorization_grant_type="client-credentials")
    seen: dict[str, bool] = {}

    flow = Flow(web, user)
    tokens = flow.tokens()
    device = "urn:ietf:params:oauth:grant-type:device_code"
    form = {"token": tokens["access_token"], "client_id": public.client_id, "grant_type": device}
    seen["1 introspection without credentials"] = Client().post("/o/introspect/", form).json().get("active") is True
    response = Client().get(f"/o/introspect/?token={tokens['access_token']}", headers=basic(other))
    seen["2 any client introspects any token, by GET"] = response.status_code == 200 and response.json()["active"]
    seen["3 an ID token works as an access token"] = bearer(tokens["id_token"], "/protected") == 200

    seen["4 the device flow is there"] = Client().post("/o/device-authorization/", {}).status_code != 404

    form = {"grant_type": "client_credentials", "client_id": service.client_id, "client_secret": SECRET}
    response = Client().post("/o/token/", form, headers=basic(web, "wrong"))
    seen["5 a wrong Basic secret falls through to the body"] = response.status_code == 200

    User.objects.update(is_active=False)
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refreshed = Client().post("/o/token/", form, headers=basic(web))
    seen["6 a disabled user's tokens go on"] = (
        bearer(tokens["access_token"], "/o/userinfo/") == 200 or refreshed.status_code == 200
    )
    User.objects.update(is_active=True)

    seen["7 prompt=none is a 500"] = Flow(web, user).get(prompt="none").status_code == 500

    ignored = {
        "request": "e30.", "request_uri": "urn:x", "max_age": "0", "acr_values": "x", "response_mode": "form_post",
        "authorization_details": "[]", "dpop_jkt": "x", "id_token_hint": "garbage",
        "claims": '{"id_token":{"acr":{"essential":true,"values":["x"]}}}',
    }  # fmt: skip
    for name, value in ignored.items():
        seen[f"8 {name} is silently ignored"] = Flow(web, user).get(**{name: value}).status_code == 200

    flow = Flow(web, user)
    flow.get(scope="read")
    granted = flow.exchange(flow.allow(scope="read write openid")).json()["scope"]
    seen["9 hidden fields of the consent page widen it"] = "write" in granted

    flow = Flow(web, user)
    code = flow.allow()
    requested = flow.exchange(code).json()
    replayed = flow.exchange(code)
    seen["10 a replayed code ends nothing"] = (
        replayed.status_code == 400 and bearer(requested["access_token"], "/o/userinfo/") == 200
    )

    flow = Flow(web, user)
    code = flow.allow()
    unspent: list[bool] = []
    post_save.connect(
        lambda **kwargs: unspent.append(Grant.objects.filter(code=code).exists()), sender=AccessToken, weak=False
    )
    flow.exchange(code)
    seen["11 tokens are saved before the code is used up"] = any(unspent)

    form = {"grant_type": "client_credentials", "scope": "introspection write"}
    response = Client().post("/o/token/", form, headers=basic(service))
    seen["12 every scope is every client's"] = response.json().get("scope", "").split() == ["introspection", "write"]

    response = Client().get(f"/o/userinfo/?access_token={requested['access_token']}")
    seen["13 a token in the address works"] = response.status_code == 200

    flow = Flow(web, user)
    code = flow.allow()
    seen["the code is stored in clear"] = Grant.objects.filter(code=code).exists()
    response = flow.browser.post("/o/authorize/", flow.parameters)
    seen["an error does not say who gave it"] = "iss=" not in response["Location"]
    flow.parameters |= {"code_challenge": "x" * 43, "code_challenge_method": "plain"}
    seen["PKCE by plain"] = flow.get().status_code == 200
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()))

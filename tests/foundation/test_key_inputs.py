"""Public keys in a form: PEM, certificates, JWKs and JWK Sets, pasted or uploaded; kept, added, removed."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import QueryDict
from django.test import Client

from accounts.models import User
from clients import keys
from clients.models import Agent
from foundation.key_inputs import MAX_UPLOAD, KeysField
from tests.support.world import sign_in

EC = ec.generate_private_key(ec.SECP256R1())
PRIVATE_KEYS: dict[str, Any] = {
    "EC": EC,
    "RSA": rsa.generate_private_key(65537, 2048),
    "OKP": ed25519.Ed25519PrivateKey.generate(),
}


def pem(private: Any) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def private_pem(private: Any, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
    return str(private.private_bytes(Encoding.PEM, form, NoEncryption()).decode())


def submit(text: str = "", *, stored: Any = None, remove: tuple[str, ...] = (), upload: Any = None) -> Any:
    field, data = KeysField(required=False), QueryDict(mutable=True)
    data["jwks"], data["jwks-stored"] = text, json.dumps(stored) if stored else ""
    data.setlist("jwks-remove", list(remove))
    return field.clean(field.widget.value_from_datadict(data, {"jwks-file": upload} if upload else {}, "jwks"))


@pytest.mark.parametrize("kind", PRIVATE_KEYS)
def test_a_pem_key_becomes_a_jwk_with_its_thumbprint(kind: str) -> None:
    jwks = submit(pem(PRIVATE_KEYS[kind]))
    (key,) = jwks["keys"]
    assert key["kty"] == kind and len(key["kid"]) == 43 and "d" not in key
    assert keys.problem_with(jwks) is None


def test_a_certificate_and_several_blocks() -> None:
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "agent")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(EC.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(EC, SHA256())
    )  # fmt: skip
    text = f"{certificate.public_bytes(Encoding.PEM).decode()}\n{pem(PRIVATE_KEYS['RSA'])}"
    assert [key["kty"] for key in submit(text)["keys"]] == ["EC", "RSA"]
    assert submit(text)["keys"][0] == submit(pem(EC))["keys"][0]


def test_keys_are_added_removed_and_replaced() -> None:
    one, two = submit(pem(EC)), submit(pem(PRIVATE_KEYS["RSA"]))
    both = {"keys": one["keys"] + two["keys"]}
    assert submit(pem(PRIVATE_KEYS["RSA"]), stored=one) == both
    assert submit(pem(EC), stored=one) == one, "the same key once"
    assert submit(stored=both) == both and submit(stored=both, remove=("0",)) == two
    assert submit(stored=both, remove=("0", "1")) is None
    assert submit(json.dumps(two), stored=one) == two, "a JWK Set takes the place of all keys"
    assert submit(json.dumps(two["keys"][0]), stored=one) == both
    upload = SimpleUploadedFile("key.pem", pem(PRIVATE_KEYS["RSA"]).encode())
    assert submit(stored=one, upload=upload) == both


def test_a_jwk_without_a_kid_gets_one() -> None:
    (key,) = submit(pem(EC))["keys"]
    bare = {name: value for name, value in key.items() if name != "kid"}
    assert submit(json.dumps(bare))["keys"] == [key]


DSA = dsa.generate_private_key(2048)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (private_pem(EC), "This is a private key"),
        (private_pem(EC, PrivateFormat.TraditionalOpenSSL), "This is a private key"),
        (private_pem(EC, PrivateFormat.OpenSSH), "This is a private key"),
        (pem(EC)[:60], "cut off"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "cannot be read"),
        (pem(DSA), "EC, RSA or Ed25519"),
        ("ssh-ed25519 AAAA me@host", "ssh-keygen -e"),
        ("hello", "Paste a public key as PEM"),
        ('{"keys": [}', "line 1, column 11"),
        ('{"keys": ["\\u0000"]}', "character that cannot be stored"),
    ],
)
def test_text_that_is_no_public_key(text: str, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        submit(text)
    assert said in str(refused.value) and "AAAA" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "said"), [(b"\xff\xfe\x00", "no text"), (b"x" * (MAX_UPLOAD + 1), "larger than 20 kB")]
)
def test_a_file_that_is_no_key(content: bytes, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        submit(upload=SimpleUploadedFile("key", content))


@pytest.mark.django_db
@pytest.mark.parametrize("stored", ["[" * 100_000, "{", "9" * 5000, '{"keys": 1}', '{"keys": [1]}', "null", "\x00"])
def test_hostile_stored_keys(administrator: User, stored: str) -> None:
    form = {"client_jwks": "x", "client_jwks-stored": stored, "client_jwks-remove": ["x", "9"]}
    assert sign_in(administrator).post("/admin/clients/agent/add/", form).status_code == 200


@pytest.mark.django_db
def test_the_page_of_an_agent_lists_its_keys_and_takes_another(administrator: User) -> None:
    browser: Client = sign_in(administrator)
    agent = Agent.objects.create(
        name="Shop", client_jwks=submit(pem(EC)), token_endpoint_auth_method="private_key_jwt",
        grant_types=["client_credentials"],
    )  # fmt: skip
    url = f"/admin/clients/agent/{agent.pk}/change/"
    page = browser.get(url)
    kid = agent.client_jwks["keys"][0]["kid"]
    text = page.content.decode()
    assert f"<code>{kid}</code>" in text and "ES256" in text and 'enctype="multipart/form-data"' in text
    refused = browser.post(url, {"client_jwks": private_pem(EC)})
    assert "This is a private key" in refused.content.decode()
    hostile = {"keys": [{"kty": "<script>", "kid": "<script>alert(1)</script>"}]}
    Agent.objects.filter(pk=agent.pk).update(client_jwks=hostile)
    assert "<script>alert" not in browser.get(url).content.decode()

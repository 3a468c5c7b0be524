"""Public keys as an input of a form: pasted as PEM, JWK or JWK Set, or uploaded; listed by algorithm and kid."""

import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from django import forms
from django.core.exceptions import ValidationError
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from foundation.admin import LegibleJSON
from foundation.rows import HiddenJSON, ProjectWidget

MAX_UPLOAD = 20_000  # bytes or characters; the search for PEM blocks takes their square
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_PRIVATE = "This is a private key. Keep it where it is, and paste the public key: openssl pkey -in key.pem -pubout"
_WANTED = "Paste a public key as PEM (-----BEGIN PUBLIC KEY-----), a certificate, a JWK, or a JWK Set."
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA", "RSA": "PS256 or RS256"}
_KINDS: tuple[type[ECKey] | type[RSAKey] | type[OKPKey], ...] = (ECKey, RSAKey, OKPKey)


@dataclass(frozen=True)
class Submitted:
    """`stored`: the keys of the page, as JSON text. `removed`: the numbers of those that were ticked for removal."""

    text: str
    upload: Any
    stored: str
    removed: tuple[str, ...]


def keys_in(text: str) -> dict[str, Any] | list[dict[str, Any]]:
    """A JWK Set, or the keys of PEM blocks or of one JWK. Raises ValidationError."""
    if len(text) > MAX_UPLOAD:
        raise ValidationError("This is longer than 20,000 characters. Public keys are shorter.")
    if "-----BEGIN" in text:
        blocks = list(_BLOCK.finditer(text))
        if not blocks:
            raise ValidationError("The PEM text is cut off. Paste it with its first and its last line.")
        return [_key_of(block[1], block[0]) for block in blocks]
    if text.startswith(("ssh-", "ecdsa-")):
        raise ValidationError("This is an SSH key. Convert it first: ssh-keygen -e -m PKCS8 -f key.pub")
    if not text.startswith(("{", "[")):
        raise ValidationError(_WANTED)
    found = LegibleJSON().clean(text)
    if isinstance(found, dict) and "kty" in found:
        return [found if "kid" in found else _with_kid(found)]
    return found if isinstance(found, dict) else {"keys": found}


def _key_of(label: str, block: str) -> dict[str, Any]:
    if "PRIVATE" in label:
        raise ValidationError(_PRIVATE)
    try:
        pem = block.encode()
        key = load_pem_x509_certificate(pem).public_key() if label == "CERTIFICATE" else load_pem_public_key(pem)
        spki = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValidationError(f"The block {label} cannot be read. {_WANTED}") from error
    for kind in _KINDS:
        try:
            return _with_kid(dict(kind.import_key(spki).as_dict(private=False)))
        except (JoseError, ValueError, TypeError):
            continue
    raise ValidationError("Keys must be EC, RSA or Ed25519.")


def _with_kid(key: dict[str, Any]) -> dict[str, Any]:
    """The key with its thumbprint (RFC 7638) as `kid`. A malformed key stays as it is: the model refuses it."""
    for kind in _KINDS:
        try:
            return key | {"kid": kind.import_key(key).thumbprint()}
        except (JoseError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return key


class KeysWidget(ProjectWidget):
    needs_multipart_form = True
    template_name = "admin/keys.html"

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Submitted | None:
        text, stored = data.get(name, ""), data.get(f"{name}-stored", "")
        upload = files.get(f"{name}-file") if files else None
        if not isinstance(text, str) or not (text.strip() or stored or upload):
            return None
        removed = data.getlist(f"{name}-remove") if hasattr(data, "getlist") else data.get(f"{name}-remove", [])
        return Submitted(text.strip(), upload, str(stored), tuple(removed))

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        text, stored = "", value or ""
        removed: tuple[str, ...] = ()
        if isinstance(value, Submitted):
            text, stored, removed = value.text, value.stored, value.removed
        return super().get_context(name, value, attrs) | {
            "name": name, "text": text, "stored": stored, "removed": removed, "keys": _listed(stored),
        }  # fmt: skip


def _listed(stored: Any) -> list[dict[str, str]]:
    """The keys for the list: what a reader can tell them apart by."""
    try:
        found = LegibleJSON(required=False).clean(stored) if isinstance(stored, str) else {}
    except ValidationError:
        return []
    keys = found.get("keys") if isinstance(found, dict) else None
    return [
        {
            "number": str(number),
            "kid": str(key.get("kid") or "no kid"),
            "algorithm": str(key.get("alg") or _ALGORITHMS.get(str(key.get("crv") or key.get("kty")), "unknown")),
            "kind": " ".join(str(key[name]) for name in ("kty", "crv") if name in key),
        }
        for number, key in enumerate(keys if isinstance(keys, list) else [])
        if isinstance(key, dict)
    ]


class KeysField(forms.Field):
    """Its cleaned value is a JWK Set or None. A pasted JWK Set takes the place of all keys; other keys are added."""

    hidden_widget = HiddenJSON

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(widget=KeysWidget(), **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return json.dumps(value) if isinstance(value, dict | list) else value

    def clean(self, value: Any) -> Any:
        if value is None:
            return None
        stored = LegibleJSON(required=False).clean(value.stored)
        keys = stored.get("keys") if isinstance(stored, dict) else None
        keys = keys if isinstance(keys, list) else []
        keys = [key for number, key in enumerate(keys) if str(number) not in value.removed]
        for text in filter(None, (value.text, self._uploaded(value.upload))):
            found = keys_in(text)
            if isinstance(found, dict):
                return found
            keys += [key for key in found if key not in keys]
        return {"keys": keys} if keys else None

    def _uploaded(self, upload: Any) -> str:
        if not upload:
            return ""
        if upload.size > MAX_UPLOAD:
            raise ValidationError("The file is larger than 20 kB. A file of public keys is smaller.")
        try:
            return str(upload.read().decode()).strip()
        except UnicodeDecodeError as error:
            raise ValidationError(f"The file is no text. {_WANTED} DER: openssl pkey -pubin -inform DER") from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((self.clean(data) or None) != (initial or None))
        except ValidationError:
            return True

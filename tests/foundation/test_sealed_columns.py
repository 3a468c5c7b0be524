"""Every sealed column is a SealedField, so all are sealed again under a new key-encryption key."""

from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import models
from django.utils import timezone

from devices import vapid
from devices.models import VapidKey
from foundation.keyring import KeyringError, open_sealed, sealed_under
from foundation.sealed_columns import SealedField, place_of, reseal, sealed_columns
from oauth.models import SigningKey


def test_every_column_named_sealed_is_one() -> None:
    binary = [
        field
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.BinaryField)
    ]
    assert {field for field in binary if field.name.startswith("sealed_")} == {
        field for fields in sealed_columns().values() for field in fields
    }
    assert len([field for field in binary if isinstance(field, SealedField)]) >= 9


def test_only_a_sealed_column_has_a_place() -> None:
    assert place_of(SigningKey, "sealed_private_jwk", "k") == "oauth_signingkey:sealed_private_jwk:k"
    with pytest.raises(TypeError, match="no SealedField"):
        place_of(SigningKey, "public_jwk", "k")


@pytest.mark.django_db(transaction=True)
class TestReseal:
    def test_every_value_is_sealed_under_the_new_key(self, signing: None, settings: Any) -> None:
        vapid.make_key(timezone.now())
        old = settings.KEY_ENCRYPTION_KEYS
        settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32, **old}
        written = StringIO()
        call_command("rotate_keys", "--reseal", stdout=written)
        settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32}
        for model in (SigningKey, VapidKey):
            (field,) = sealed_columns()[model]
            rows = list(model._default_manager.all())
            assert rows and f"{len(rows)} {model._meta.verbose_name_plural} sealed again" in written.getvalue()
            for row in rows:
                sealed = bytes(getattr(row, field.name))
                assert sealed_under(sealed) == "new" and open_sealed(sealed, place=field.place_in(row))

    def test_nothing_changes_where_a_value_does_not_open(self, signing: None, settings: Any) -> None:
        one, two, *_ = SigningKey.objects.order_by("pk")
        SigningKey.objects.filter(pk=two.pk).update(sealed_private_jwk=one.sealed_private_jwk)
        settings.KEY_ENCRYPTION_KEYS = {"new": b"n" * 32, **settings.KEY_ENCRYPTION_KEYS}
        with pytest.raises(KeyringError):
            reseal(SigningKey)
        assert {sealed_under(bytes(row.sealed_private_jwk)) for row in SigningKey.objects.all()} != {"new"}

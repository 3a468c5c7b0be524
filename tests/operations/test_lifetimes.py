"""The longest lifetime of a token is said once; whatever depends on it follows."""

from datetime import timedelta

import pytest
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone

from credentials.models import Role
from oauth.models import SigningKey
from oauth.tokens import signing_keys
from operations.lifetimes import MAX_TOKEN_LIFETIME_S
from operations.models import OperationTypeVersion


@pytest.mark.parametrize(
    ("model", "column"), [(OperationTypeVersion, "lifetime"), (Role, "default_lifetime"), (Role, "max_lifetime")]
)
def test_nothing_may_be_configured_to_last_longer(model: type[models.Model], column: str) -> None:
    validators = model._meta.get_field(column).validators
    limits = [one.limit_value for one in validators if isinstance(one, MaxValueValidator)]
    assert min(limits) == MAX_TOKEN_LIFETIME_S


@pytest.mark.django_db(transaction=True)
def test_a_key_is_listed_until_everything_that_it_signed_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = timedelta(days=3)
    monkeypatch.setattr(signing_keys, "MAX_TOKEN_LIFETIME", longest)
    now = timezone.now()
    signing_keys.make_key("ES256", now, active_at=now)
    signing_keys.make_key("ES256", now, active_at=now)
    (withdrawn_at,) = SigningKey.objects.exclude(withdrawn_at=None).values_list("withdrawn_at", flat=True)
    assert withdrawn_at > now + longest

"""Queries that are put into SQL once answer as Django's own do."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F, Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from foundation.compiled_queries import CompiledQuery, CompiledUpdate, Parameter
from foundation.handles import new_id
from foundation.inserts import insert, insert_or_roll_back
from oauth.models import Grant, SigningKey, Use
from operations.models import Resource
from tests.support.world import Caller

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def grant(agent: Caller, user: User) -> Grant:
    now = timezone.now()
    return Grant.objects.create(
        id=new_id(), agent=agent.agent, user=user, operation_digest="d", uses_left=3, created_at=now,
        expires_at=now + timedelta(hours=1), scopes=["a", "b"], authorization_details=[{"type": "x", "n": [1]}],
    )  # fmt: skip


def find_grants(pk: Any, now: Any) -> Any:
    return (
        Grant.objects.alive(now).select_related("agent", "user").filter(Q(uses_left=None) | Q(uses_left__gt=0), pk=pk)
    )


def test_the_same_statement_and_the_same_objects(grant: Grant) -> None:
    rows, now = CompiledQuery(lambda: find_grants(Parameter("pk"), Parameter("now"))), timezone.now()
    for _ in range(2):  # the first call compiles
        with CaptureQueriesContext(connection) as captured:
            (ours,) = rows(pk=grant.pk, now=now)
            (theirs,) = find_grants(grant.pk, now)
            assert ours == theirs and ours.__dict__.keys() == theirs.__dict__.keys()
            assert ours.agent == theirs.agent and ours.user == theirs.user
            assert (ours.scopes, ours.authorization_details) == (["a", "b"], [{"type": "x", "n": [1]}])
        mine, django = (query["sql"].replace("(", "").replace(")", "") for query in captured.captured_queries)
        assert mine == django
    assert rows(pk=new_id(), now=now) == [] and rows.first(pk=new_id(), now=now) is None
    assert rows.any(pk=grant.pk, now=now) and not rows.any(pk=grant.pk, now=grant.expires_at)


def test_what_was_not_given_is_an_error(grant: Grant) -> None:
    with pytest.raises(KeyError, match="now"):
        CompiledQuery(lambda: find_grants(Parameter("pk"), Parameter("now")))(pk=grant.pk)


def test_a_lock_needs_a_transaction_each_time(grant: Grant) -> None:
    locked = CompiledQuery(lambda: Grant.objects.select_for_update().filter(pk=Parameter("pk")))
    with transaction.atomic():
        assert locked.any(pk=grant.pk)
    with pytest.raises(transaction.TransactionManagementError):
        locked(pk=grant.pk)


def test_each_thread_uses_its_own_connection(grant: Grant) -> None:
    rows, seen = CompiledQuery(lambda: Grant.objects.filter(pk=Parameter("pk"))), []

    def look() -> None:
        try:
            with CaptureQueriesContext(connection) as captured:
                seen.append((rows.any(pk=grant.pk), len(captured)))
        finally:
            connection.close()

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [(True, 1), (True, 1)]


def test_an_update_counts_what_it_changed(grant: Grant) -> None:
    spend = CompiledUpdate(
        lambda: Grant.objects.alive(Parameter("now")).filter(pk=Parameter("pk"), uses_left__gt=0),
        uses_left=F("uses_left") - 1,
        revoked_at=Parameter("revoked_at"),
    )
    now = timezone.now()
    assert spend(pk=grant.pk, now=now, revoked_at=None) == 1
    assert spend(pk=grant.pk, now=now, revoked_at=now) == 1
    assert spend(pk=grant.pk, now=now, revoked_at=None) == 0, "it is revoked now"
    grant.refresh_from_db()
    assert (grant.uses_left, grant.revoked_at) == (1, now)


def test_rows_are_inserted_as_they_are(grant: Grant) -> None:
    uses = [
        Use(id=new_id(), grant=grant, operation_digest="d", idempotency_digest=b"\x00%s'" * n, at=grant.created_at)
        for n in (1, 2)
    ]
    with CaptureQueriesContext(connection) as captured:
        insert(uses)
    assert len(captured) == 1
    assert [bytes(one.idempotency_digest or b"") for one in Use.objects.order_by("idempotency_digest")] == [
        b"\x00%s'", b"\x00%s'" * 2,
    ]  # fmt: skip
    jwk = {"kty": "EC", "text": "50% of 'it'"}
    insert([SigningKey(kid="k", algorithm="ES256", public_jwk=jwk, sealed_private_jwk=b"x", created_at=grant.created_at,
                       active_at=grant.created_at)])  # fmt: skip
    assert SigningKey.objects.get(kid="k").public_jwk == jwk


def test_conflicts(grant: Grant) -> None:
    use = Use(id=new_id(), grant=grant, operation_digest="d", at=grant.created_at)
    insert([use])
    insert([use], ignore_conflicts=True)
    with pytest.raises(IntegrityError):
        insert([use])
    with pytest.raises(IntegrityError), transaction.atomic():
        insert([use])
    assert Use.objects.count() == 1


def test_a_transaction_goes_on_after_rows_that_were_refused(grant: Grant) -> None:
    use = Use(id=new_id(), grant=grant, operation_digest="d", at=grant.created_at)
    with transaction.atomic():
        insert_or_roll_back([use])
        with pytest.raises(DatabaseError):
            insert_or_roll_back([use])
        Resource.objects.create(name="After it", identifier="https://after.example.com/")
        with CaptureQueriesContext(connection) as captured:
            insert_or_roll_back([Use(id=new_id(), grant=grant, operation_digest="d", at=grant.created_at)])
        assert len(captured) == 1
    assert Use.objects.count() == 2 and Resource.objects.filter(name="After it").exists()


def test_after_an_insert_that_failed_nothing_is_committed(grant: Grant) -> None:
    use = Use(id=new_id(), grant=grant, operation_digest="d", at=grant.created_at)
    insert([use])
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            insert([use])
        with pytest.raises(transaction.TransactionManagementError):
            Resource.objects.count()

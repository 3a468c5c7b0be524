"""The append-only table of events, and the ordinary table of set-aside events."""

from django.db import models
from django.db.models import Q

from foundation.trace_context import MAX_TRACEPARENT


class Event(models.Model):
    """One audit event. `body` is the record. The columns from `kind` to `traceparent` are copies of its members.

    `body` is canonical JSON (RFC 8785) and `salt` 16 random bytes. A later seal hashes both, so
    that a body can be erased on legal demand without breaking the proof over the other events.

    The database writes the last three columns (migration 0002) and overwrites what an INSERT gives for
    them. `at` is the application's time. An event is final, and no event of a lower `transaction_id` can
    appear any more, once `transaction_id` is below pg_snapshot_xmin(pg_current_snapshot()). The order of
    ids says less: a transaction that took a lower id may commit later (docs/adr/0017).
    """

    append_only = True

    id = models.BigAutoField(primary_key=True)
    schema_version = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=64)
    at = models.DateTimeField()
    actor = models.CharField(max_length=300)
    client_id = models.CharField(max_length=255, blank=True)
    user_id = models.UUIDField(null=True)
    request_id = models.UUIDField(null=True)
    grant_id = models.UUIDField(null=True)
    traceparent = models.CharField(max_length=MAX_TRACEPARENT, null=True)
    body = models.TextField()
    salt = models.BinaryField(max_length=16)
    collapse_digest = models.BinaryField(max_length=32, null=True)
    recorded_at = models.DateTimeField(help_text="The database's own time of the INSERT.")
    transaction_id = models.BigIntegerField(help_text="The database's transaction that wrote the event.")
    recorded_by = models.CharField(max_length=63, help_text="The database's role that was logged in.")

    class Meta:
        ordering = ["-id"]
        # Ascending, although pages show the newest first: PostgreSQL reads an index in both directions, and only
        # ascending keys fill its pages (docs/adr/0017). bench/query_plans.py shows which query uses which index.
        indexes = [
            models.Index(name="event_at", fields=["at"]),
            models.Index(name="event_kind", fields=["kind", "id"]),
            models.Index(name="event_client", fields=["client_id", "id"]),
            models.Index(name="event_user", fields=["user_id", "id"], condition=Q(user_id__isnull=False)),
            models.Index(name="event_request", fields=["request_id"], condition=Q(request_id__isnull=False)),
            models.Index(name="event_grant", fields=["grant_id", "at"], condition=Q(grant_id__isnull=False)),
        ]
        constraints = [
            models.UniqueConstraint(
                name="event_collapsed", fields=["collapse_digest"], condition=Q(collapse_digest__isnull=False)
            )
        ]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} #{self.pk}"


class SetAsideEvent(models.Model):
    """The event of a revocation that the append-only table refused. The audit log never blocks a revocation.

    While a row exists /readyz is red, because an administrator must act (docs/operations.md).
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    kind = models.CharField(max_length=64)
    body = models.TextField()
    problem = models.TextField()

    class Meta:
        default_permissions = ("view", "delete")

    def __str__(self) -> str:
        return f"{self.kind} set aside at {self.at:%Y-%m-%d %H:%M}"

"""The append-only table of events, and the ordinary table of set-aside events."""

from django.db import models


class Event(models.Model):
    """One audit event. `body` is the record; the other columns are copies of its members, for filters.

    `body` is canonical JSON (RFC 8785) and `salt` 16 random bytes. A later seal hashes both, so
    that a body can be erased on legal demand without breaking the proof over the other events.
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
    body = models.TextField()
    salt = models.BinaryField(max_length=16)
    collapse_digest = models.BinaryField(max_length=32, null=True, unique=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["-at"]),
            models.Index(fields=["kind", "-id"]),
            models.Index(fields=["client_id", "-id"]),
            models.Index(fields=["user_id", "-id"]),
            models.Index(fields=["request_id", "id"]),
            models.Index(fields=["grant_id", "id"]),
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

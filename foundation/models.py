"""The tables of the outbox (foundation/outbox.py) and of counted attempts (foundation/attempts.py)."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from foundation.handles import new_id
from foundation.trace_context import MAX_TRACEPARENT


class Work(models.Model):
    """One piece of pending work: sent at least once before its deadline, and never again after a recorded success."""

    class State(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        ABANDONED = "abandoned"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    about = models.CharField(max_length=64, help_text="The object that the work concerns, for example prompt:<id>.")
    payload = models.JSONField()  # ids and settled facts; never a secret
    traceparent = models.CharField(max_length=MAX_TRACEPARENT, null=True)  # of the request that caused it
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.CharField("last problem", max_length=300, blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "pending work"
        indexes = [
            models.Index(name="work_due", fields=["due_at"], condition=Q(state="pending")),
            models.Index(name="work_finished", fields=["finished_at"], condition=Q(finished_at__isnull=False)),
            models.Index(name="work_about", fields=["about"]),
            models.Index(name="work_abandoned", fields=["finished_at"], condition=Q(state="abandoned")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.about}"


class Attempt(models.Model):
    """One counted attempt (foundation/attempts.py): for example a wrong password, or a registration."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=40)
    # Digests of what the attempt is counted for, such as an address or a user.
    subject_digests = ArrayField(models.CharField(max_length=43))
    expires_at = models.DateTimeField(db_index=True)  # the end of its window

    class Meta:
        default_permissions = ()
        indexes = [GinIndex(name="attempt_subjects", fields=["subject_digests"])]

    def __str__(self) -> str:
        return f"{self.kind} until {self.expires_at:%H:%M:%S}"

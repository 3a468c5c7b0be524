"""The tables of the outbox (foundation/outbox.py) and of attempts at secrets (foundation/attempts.py)."""

from django.db import models
from django.db.models import Q

from foundation.handles import new_id


class Work(models.Model):
    """One piece of pending work: sent at least once before its deadline, and never again after a recorded success."""

    class State(models.TextChoices):
        PENDING = "pending"
        DONE = "done"
        ABANDONED = "abandoned"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    about = models.CharField(max_length=64, help_text="What it is for, such as prompt:<id>.")
    payload = models.JSONField()  # ids and settled facts; never a secret
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
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.about}"


class Attempt(models.Model):
    """One attempt at a bearer secret (foundation/attempts.py)."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=40)
    # the IPv4 address, or the /64 of an IPv6 address: one party has a whole /64
    network = models.GenericIPAddressField()
    beginning_digest = models.BinaryField(max_length=32)
    at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["network", "at"]), models.Index(fields=["beginning_digest", "at"])]

    def __str__(self) -> str:
        return f"attempt from {self.network}"

"""The table of work owed to the outside world (foundation/outbox.py)."""

from django.db import models
from django.db.models import Q

from foundation.handles import new_id


class Work(models.Model):
    """One thing owed: sent at least once before its deadline, never again after a recorded success."""

    class State(models.TextChoices):
        OWED = "owed"
        DONE = "done"
        GIVEN_UP = "given up"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=40)
    about = models.CharField(max_length=64, help_text="What it is owed for, such as prompt:<id>.")
    payload = models.JSONField()  # ids and settled facts; never a secret
    state = models.CharField(max_length=10, choices=State.choices, default=State.OWED)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    problem = models.CharField("last problem", max_length=300, blank=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "work owed"
        indexes = [
            models.Index(name="work_due", fields=["due_at"], condition=Q(state="owed")),
            models.Index(name="work_finished", fields=["finished_at"], condition=Q(finished_at__isnull=False)),
            models.Index(name="work_about", fields=["about"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.about}"


class Attempt(models.Model):
    """Somebody presented a secret that opens something by itself (foundation/attempts.py)."""

    id = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=40)
    network = models.GenericIPAddressField()  # the address; of IPv6 its /64, which one party has
    beginning_digest = models.BinaryField(max_length=32)
    at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["network", "at"]), models.Index(fields=["beginning_digest", "at"])]

    def __str__(self) -> str:
        return f"attempt from {self.network}"

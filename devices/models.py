"""Devices, and the keys that pushes to them are signed with (RFC 8292)."""

from django.conf import settings
from django.db import models

from foundation.handles import new_id


class VapidKey(models.Model):
    """Identifies this server to push services. A subscription is bound to the key that it was made with."""

    public_key = models.CharField(primary_key=True, max_length=87)  # uncompressed point, base64url
    sealed_private_key = models.BinaryField()  # 32 bytes scalar, base64url, sealed
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        ordering = ["-created_at"]
        verbose_name = "push key"

    def __str__(self) -> str:
        return self.public_key[:12]


class Device(models.Model):
    """A browser that its person enrolled. The subscription is erased with the device's removal."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="devices")
    name = models.CharField(max_length=60)
    sealed_subscription = models.BinaryField(null=True)  # JSON of endpoint, p256dh and auth
    endpoint_digest = models.BinaryField(max_length=32, null=True, unique=True)
    push_service = models.CharField(max_length=255)  # host of the endpoint, to be shown
    vapid_key = models.ForeignKey(VapidKey, on_delete=models.PROTECT, related_name="devices")
    created_at = models.DateTimeField()
    last_reached_at = models.DateTimeField(null=True)
    last_problem = models.CharField(max_length=300, blank=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["user"], name="device_live", condition=models.Q(removed_at=None))]

    def __str__(self) -> str:
        return self.name


class UserCode(models.Model):
    """What an agent must know to reach this person's devices; chosen by the person, and stored as Argon2."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="user_code"
    )
    code_hash = models.CharField(max_length=255)
    set_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"code of {self.user}"


class UserCodeAttempt(models.Model):
    """A code given by an agent, counted before it is checked, so that parallel guesses count too."""

    id = models.BigAutoField(primary_key=True)
    agent = models.ForeignKey(settings.OAUTH2_PROVIDER_APPLICATION_MODEL, on_delete=models.CASCADE, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["user", "at"])]

    def __str__(self) -> str:
        return f"attempt of {self.agent}"

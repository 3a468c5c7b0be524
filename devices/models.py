"""Devices, the VAPID keys that sign pushes to them (RFC 8292), and users' codes for agents."""

from django.conf import settings
from django.db import models

from foundation.handles import new_id
from foundation.sealed_columns import SealedField


class VapidKey(models.Model):
    """A key that identifies this server to push services.

    A subscription is bound to the key under which it was made.
    """

    public_key = models.CharField(primary_key=True, max_length=87)  # uncompressed point, base64url
    sealed_private_key = SealedField(
        identified_by="public_key",
    )  # scalar of 32 bytes, base64url, sealed
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        ordering = ["-created_at"]
        verbose_name = "push key"

    def __str__(self) -> str:
        return self.public_key[:12]


class Device(models.Model):
    """A browser that its user has enrolled. The subscription is erased when the device is removed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="devices")
    name = models.CharField(max_length=60)
    sealed_subscription = SealedField(null=True)  # JSON with endpoint, p256dh and auth
    endpoint_digest = models.BinaryField(max_length=32, null=True, unique=True)
    push_service = models.CharField(max_length=255)  # host of the endpoint, for display
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
    """The code that an agent needs to reach this user's devices. The user chooses it; stored as Argon2."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="user_code"
    )
    code_hash = models.CharField(max_length=255)
    set_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"code of {self.user}"

"""Devices in the administration: read-only. The subscription itself is not displayed."""

from django.contrib import admin

from devices.models import Device, VapidKey
from foundation.admin import ReadOnly


@admin.register(Device)
class DeviceAdmin(ReadOnly):
    purpose = "A device is a browser or phone that receives push messages. Users add theirs on their page Devices."
    list_display = ("name", "user", "push_service", "created_at", "last_reached_at", "last_problem", "removed_at")
    list_filter = ("push_service",)
    search_fields = ("user__email", "name", "id")
    list_select_related = ("user",)
    fields = ("id", *list_display)


@admin.register(VapidKey)
class VapidKeyAdmin(ReadOnly):
    purpose = "Push services know Countersign by this key. `manage.py prepare` makes the first."
    list_display = ("public_key", "created_at")
    fields = list_display

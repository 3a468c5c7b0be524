from django.urls import path

from devices import pages

urlpatterns = [
    path("devices", pages.devices, name="devices"),
    path("devices/user-code", pages.user_code, name="user-code"),
    path("devices/<uuid:device_id>/name", pages.rename, name="rename-device"),
    path("devices/<uuid:device_id>/test", pages.test, name="test-device"),
    path("devices/<uuid:device_id>/remove", pages.remove, name="remove-device"),
    path("devices/<uuid:device_id>/renew", pages.renew, name="renew-device"),
    path("sw.js", pages.service_worker, name="service-worker"),
    path("manifest.webmanifest", pages.manifest, name="manifest"),
    path("offline", pages.offline, name="offline"),
]

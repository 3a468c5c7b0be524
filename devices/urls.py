from django.urls import path

from devices import views

urlpatterns = [
    path("devices", views.devices, name="devices"),
    path("devices/user-code", views.user_code, name="user-code"),
    path("devices/<uuid:device_id>/name", views.rename, name="rename-device"),
    path("devices/<uuid:device_id>/test", views.test, name="test-device"),
    path("devices/<uuid:device_id>/remove", views.remove, name="remove-device"),
    path("devices/<uuid:device_id>/renew", views.renew, name="renew-device"),
    path("sw.js", views.service_worker, name="service-worker"),
    path("manifest.webmanifest", views.manifest, name="manifest"),
    path("offline", views.offline, name="offline"),
]

"""Every path of the server, from the packages that own it."""

from django.contrib import admin
from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView

from authserver import health
from foundation.protocol_paths import protocol_path

admin.autodiscover()

urlpatterns = [
    path("", include("ciba.urls")),
    path("", include("credentials.urls")),
    path("", include("devices.urls")),
    path("", include("oauth.urls")),
    path("", include("clients.urls")),
    path("", include("operations.urls")),
    path("", include("accounts.urls")),
    path("", include("audit.urls")),
    path("admin/", admin.site.urls),
    re_path(r"^v1/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    protocol_path("livez", health.livez, name="livez"),
    protocol_path("readyz", health.readyz, name="readyz"),
    protocol_path("metrics", health.metrics, name="metrics"),
]

handler400 = "authserver.errors.bad_request"
handler404 = "authserver.errors.not_found"
handler500 = "authserver.errors.server_error"

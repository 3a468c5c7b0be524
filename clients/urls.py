from django.urls import re_path

from clients.endpoints import manage_registration, register
from foundation.protocol_paths import protocol_path

urlpatterns = [
    protocol_path("oidc/register", register, name="register"),
    re_path(r"^oidc/register/(?P<client_id>[A-Za-z0-9_-]{1,255})/?$", manage_registration, name="registration"),
]

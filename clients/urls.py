from django.urls import re_path

from clients.endpoints import manage_registration, register

# With and without a trailing slash, never by a redirect: real clients drop the body of a POST on
# 301.
urlpatterns = [
    re_path(r"^oidc/register/?$", register, name="register"),
    re_path(r"^oidc/register/(?P<client_id>[A-Za-z0-9_-]{1,255})/?$", manage_registration, name="registration"),
]

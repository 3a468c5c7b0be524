from django.urls import re_path

from clients.views import register, registration

# With and without a trailing slash, never by a redirect: real clients drop a POST body on 301.
urlpatterns = [
    re_path(r"^oidc/register/?$", register, name="register"),
    re_path(r"^oidc/register/(?P<client_id>[A-Za-z0-9_-]{1,255})/?$", registration, name="registration"),
]

"""Django's app configurations of the composition root."""

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import SimpleAdminConfig


class AuthserverConfig(AppConfig):
    name = "authserver"

    def ready(self) -> None:
        from authserver import checks, wiring

        if settings.UNUSABLE:
            checks.refuse()
        checks.register()
        wiring.wire()


class CountersignAdminConfig(SimpleAdminConfig):
    """Does not import the admin classes: authserver/urls.py does, because only the web process needs them."""

    default_site = "authserver.admin.CountersignAdminSite"

from django.apps import AppConfig


class CibaConfig(AppConfig):
    name = "ciba"
    verbose_name = "Requests and approvals"

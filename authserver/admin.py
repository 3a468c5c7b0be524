"""The administration: Django's own, with our sign-in in front of it."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode


class CountersignAdminSite(admin.AdminSite):
    site_header = "Countersign administration"
    site_title = "Countersign"
    index_title = "Administration"

    def login(self, request: HttpRequest, extra_context: object = None) -> HttpResponse:
        """People sign in in one place, where guessing is locked out."""
        return redirect(f"{reverse('login')}?{urlencode({'next': request.get_full_path()})}")

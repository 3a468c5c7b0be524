"""The page /devices, and the files of the installable app that must be at the root."""

import functools
import hashlib
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import sessions
from accounts.lifecycle import Locked, check_password
from accounts.models import User
from accounts.pages import LOCKED
from devices import lifecycle, user_codes
from devices.forms import EnrolForm, NameForm, NewCodeForm, RenewForm, UserCodeForm
from devices.models import Device, UserCode
from devices.qr import qr_code
from devices.vapid import current_key

WRONG = "That is not your password."
OFFLINE_FILES = ("countersign/style.css", "countersign/logo.svg")  # the files that the offline page uses


def _user(request: HttpRequest) -> User:
    user = sessions.signed_in_user(request)
    if user is None:
        raise Http404
    return user


def _own(request: HttpRequest, device_id: UUID) -> Device:
    return get_object_or_404(Device, pk=device_id, user=_user(request), removed_at=None)


@never_cache
@login_required
@sensitive_post_parameters("password", "subscription")
@require_http_methods(["GET", "HEAD", "POST"])
def devices(request: HttpRequest) -> HttpResponse:
    """The user's devices. POST adds this browser and requires the password again."""
    form = EnrolForm(request.POST or None)
    code_form = UserCodeForm(prefix="user-code")
    if request.method == "POST" and form.is_valid() and (device := _enrol(request, form)):
        messages.success(request, f"{device.name} is added. Countersign notifies your other devices.")
        return redirect(f"/devices?added={device.id}")
    return _page(request, form, code_form)


@never_cache
@login_required
@sensitive_post_parameters("user-code-password", "user-code-code")
@require_POST
def user_code(request: HttpRequest) -> HttpResponse:
    """Sets or removes the code for agents. Requires the password again."""
    form = UserCodeForm(request.POST, prefix="user-code")
    if not form.is_valid() or not _is_fresh(request, form):
        return _page(request, EnrolForm(), form)
    user, now = _user(request), timezone.now()
    if form.cleaned_data["code"]:
        user_codes.set_code(user, form.cleaned_data["code"], now)
        messages.success(request, "Your code is set. Agents that use codes can ask you only with it.")
    else:
        user_codes.remove_code(user, now)
        messages.success(request, "Your code is removed. Agents can ask you without a code.")
    return redirect("devices")


def _page(request: HttpRequest, form: EnrolForm, code_form: UserCodeForm) -> HttpResponse:
    key = current_key()
    context = {
        "form": form,
        "code_form": code_form,
        "has_code": UserCode.objects.filter(user=_user(request)).exists(),
        "devices": lifecycle.live_devices(_user(request)),
        "public_key": key.public_key if key else "",
        "added": request.GET.get("added", ""),
        "address": settings.ISSUER_URL,
        "qr_code": qr_code(settings.ISSUER_URL) if settings.ISSUER_IS_HTTPS else "",
    }
    return render(request, "devices/devices.html", context, status=400 if form.errors or code_form.errors else 200)


def _is_fresh(request: HttpRequest, form: NewCodeForm) -> bool:
    """Whether the form has the user's correct password; otherwise adds an error to the form."""
    user, password = _user(request), form.cleaned_data["password"]
    answer = check_password(request, user.email, password, request.META["REMOTE_ADDR"], timezone.now())
    if isinstance(answer, User) and answer.pk == user.pk:
        return True
    form.add_error("password", LOCKED if isinstance(answer, Locked) else WRONG)
    return False


def _enrol(request: HttpRequest, form: EnrolForm) -> Device | None:
    """The new device, or None after adding an error to the form."""
    user, now = _user(request), timezone.now()
    if not _is_fresh(request, form):
        return None
    cleaned = form.cleaned_data
    device = lifecycle.enrol(user, cleaned["subscription"], cleaned["name"], cleaned["key"], now)
    if device is None:
        form.add_error(
            None, f"You have {lifecycle.MAX_DEVICES_PER_USER} devices, which is the limit. Remove one first."
        )
    return device


@login_required
@require_POST
def rename(request: HttpRequest, device_id: UUID) -> HttpResponse:
    form = NameForm(request.POST)
    device = _own(request, device_id)
    if form.is_valid():
        lifecycle.rename(device, form.cleaned_data["name"], timezone.now())
    else:
        messages.error(request, "A name is one line of plain text with at most 60 characters.")
    return redirect("devices")


@login_required
@require_POST
def test(request: HttpRequest, device_id: UUID) -> HttpResponse:
    device = _own(request, device_id)
    lifecycle.test(device, timezone.now())
    messages.success(
        request, f"Countersign sends a test to {device.name}. If nothing arrives, reload this page to see the problem."
    )
    return redirect("devices")


@login_required
@require_POST
def remove(request: HttpRequest, device_id: UUID) -> HttpResponse:
    device = _own(request, device_id)
    lifecycle.remove(device, timezone.now())
    messages.success(request, f"{device.name} is removed. It no longer receives notifications.")
    return redirect("devices")


@login_required
@sensitive_post_parameters("old_endpoint", "subscription")
@require_POST
def renew(request: HttpRequest, device_id: UUID) -> JsonResponse:
    """Stores a new subscription of this browser; app.js sends it after the old one ended or our key was rotated."""
    form = RenewForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"error": "invalid_request"}, status=400)
    cleaned = form.cleaned_data
    if not lifecycle.renew(
        _user(request), device_id, cleaned["old_endpoint"], cleaned["subscription"], cleaned["key"], timezone.now()
    ):
        return JsonResponse({"error": "not_found"}, status=404)
    return JsonResponse({"status": "ok"})


@require_safe
def service_worker(request: HttpRequest) -> HttpResponse:
    """The service worker. It is at the root, because a worker controls only paths below its own.

    It is never cached, so that browsers find an update.
    """
    context = {"offline_files": OFFLINE_FILES, "version": _offline_version(request)}
    response = render(request, "devices/sw.js", context, content_type="text/javascript")
    response["Cache-Control"] = "no-cache"
    return response


def _offline_version(request: HttpRequest) -> str:
    """Changes with the content of the offline files, so that the browser installs a new worker,
    which caches them again.
    """
    files = [offline(request).content, *map(_static_file, OFFLINE_FILES)]
    return hashlib.sha256(b"".join(files)).hexdigest()[:12]


@functools.cache
def _static_file(name: str) -> bytes:
    path = finders.find(name)
    if path is None:
        raise FileNotFoundError(name)
    return Path(path).read_bytes()


@require_safe
def manifest(request: HttpRequest) -> HttpResponse:
    return render(request, "devices/manifest.webmanifest", content_type="application/manifest+json")


@require_safe
def offline(request: HttpRequest) -> HttpResponse:
    """The page that the worker displays offline. It is fetched without cookies, so it contains nothing personal."""
    return render(request, "devices/offline.html", {"user": None})

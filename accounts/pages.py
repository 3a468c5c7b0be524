"""Pages at /login, /logout and /invitations/{handle}."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import browsers, lifecycle, sessions
from accounts.forms import PasswordForm, SignInForm
from accounts.models import User
from foundation.attempts import SecretGuesses, TooManyAttempts

WRONG = "The e-mail address or the password is wrong. Check both and try again."
LOCKED = "Too many wrong passwords. Wait 15 minutes, or ask an administrator for a sign-in link."


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    next_page = safe_next(request)
    signed_in = sessions.signed_in_user(request)
    hint = request.GET.get("login_hint", "") or (signed_in.email if signed_in else "")
    form = SignInForm(request.POST or None, initial={"email": hint[:254]})
    if request.method == "POST" and form.is_valid():
        answer = _sign_in(request, form)
        if isinstance(answer, User):
            response = HttpResponseRedirect(next_page)
            browsers.remember(response, answer)
            return response
        form.add_error(None, LOCKED if isinstance(answer, lifecycle.Locked) else WRONG)
    status = 400 if form.errors else 200
    return render(request, "accounts/login.html", {"form": form, "next": next_page, "again": signed_in}, status=status)


def _sign_in(request: HttpRequest, form: SignInForm) -> User | lifecycle.WrongPassword | lifecycle.Locked:
    now, address = timezone.now(), request.META["REMOTE_ADDR"]
    answer = lifecycle.check_password(request, form.cleaned_data["email"], form.cleaned_data["password"], address, now)
    if isinstance(answer, User):
        lifecycle.record_sign_in(answer, address, now)
        sessions.begin(request, answer, now)
    return answer


def safe_next(request: HttpRequest, default: str = "/") -> str:
    """The path to open after sign-in. It is always on this server, regardless of the `next` parameter."""
    next_url = request.POST.get("next") or request.GET.get("next") or default
    is_local = url_has_allowed_host_and_scheme(next_url, allowed_hosts=None) and next_url.startswith("/")
    return next_url if is_local else default


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    user = sessions.signed_in_user(request)
    if user is not None:
        lifecycle.record_sign_out(user, timezone.now())
    sessions.end(request)
    return redirect("login")


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, handle: str) -> HttpResponse:
    """Accepts an invitation.

    Opening the link changes nothing, because mail scanners open links; a new password uses it up.
    """
    now = timezone.now()
    try:
        guesses = SecretGuesses("invitation", handle, request.META["REMOTE_ADDR"], now)
        guesses.check()
        found = lifecycle.find_invitation(handle, now)
        if found is None:
            guesses.record_wrong()
            return render(request, "accounts/invitation_gone.html", status=404)
    except TooManyAttempts as error:
        headers = {"Retry-After": str(error.retry_after)}
        return HttpResponse(render(request, "accounts/wait.html").content, status=error.status, headers=headers)
    form = PasswordForm(request.POST or None, user=found.user)
    if request.method == "POST" and form.is_valid():
        if not lifecycle.accept_invitation(found.id, form.cleaned_data["password"], now):
            return render(request, "accounts/invitation_gone.html", status=404)
        return redirect("login")
    status = 400 if form.errors else 200
    return render(request, "accounts/invitation.html", {"form": form, "invited": found.user}, status=status)

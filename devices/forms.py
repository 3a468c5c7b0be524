"""Forms of /devices."""

import json
from typing import Any

from django import forms
from django.conf import settings

from devices.models import VapidKey
from devices.subscriptions import Subscription, is_known_service, parse_subscription
from devices.user_codes import problem_with_code
from foundation.outbound import OutboundRefused, Trust, check_url
from foundation.plaintext import problem_with


class NameForm(forms.Form):
    name = forms.CharField(
        max_length=60, label="Name of this device", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if problem := problem_with(name, max_length=60):
            raise forms.ValidationError(f"The name {problem}.")
        return name


def _parsed(text: str) -> Subscription:
    try:
        subscription = parse_subscription(json.loads(text))
        target = check_url(subscription.endpoint, Trust.SUPPLIED)
    except (ValueError, RecursionError, OutboundRefused) as error:
        raise forms.ValidationError(f"Countersign cannot add this browser: {error}.") from error
    if not target.is_exception and not is_known_service(target.host, subscription.path, settings.PUSH_SERVICES):
        raise forms.ValidationError(
            f"Countersign cannot add this browser: its push service {target.host} is not in PUSH_SERVICES."
        )
    return subscription


def _known_key(public_key: str) -> VapidKey:
    """The key of the browser's subscription. It may have been rotated since the page was loaded."""
    key = VapidKey.objects.filter(pk=public_key).first()
    if key is None:
        raise forms.ValidationError("This page is out of date. Reload it and try again.")
    return key


class NewCodeForm(forms.Form):
    """Sets a code for agents and requires the password again for this action."""

    password = forms.CharField(
        max_length=1024,
        strip=False,
        label="Your password",
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class UserCodeForm(NewCodeForm):
    """Sets the code for agents; an empty one removes it."""

    code = forms.CharField(
        max_length=64,
        required=False,
        strip=False,
        label="New code",
        help_text="6 to 64 letters, digits or signs. Do not use your password: agents see the code. "
        "Leave it empty to remove the code.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    field_order = ("code", "password")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        code, password = cleaned.get("code", ""), cleaned.get("password")
        if code and code == password:
            self.add_error("code", "Do not use your password: agents see this code.")
        elif code and (problem := problem_with_code(code)):
            self.add_error("code", problem)
        return cleaned


class EnrolForm(NameForm, NewCodeForm):
    subscription = forms.CharField(max_length=4096, widget=forms.HiddenInput)
    key = forms.CharField(max_length=87, widget=forms.HiddenInput)

    def clean_subscription(self) -> Subscription:
        return _parsed(self.cleaned_data["subscription"])

    def clean_key(self) -> VapidKey:
        return _known_key(self.cleaned_data["key"])


class RenewForm(forms.Form):
    old_endpoint = forms.CharField(max_length=2048, strip=False)
    subscription = forms.CharField(max_length=4096)
    key = forms.CharField(max_length=87)

    def clean_subscription(self) -> Subscription:
        return _parsed(self.cleaned_data["subscription"])

    def clean_key(self) -> VapidKey:
        return _known_key(self.cleaned_data["key"])

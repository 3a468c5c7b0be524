"""The forms of /devices."""

import json
from typing import Any

from django import forms

from devices.subscriptions import Subscription, parse_subscription
from foundation.plaintext import problem_with


class NameForm(forms.Form):
    name = forms.CharField(max_length=60, label="Name of this device")

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if problem := problem_with(name, most=60):
            raise forms.ValidationError(f"The name {problem}.")
        return name


def _parsed(text: str) -> Subscription:
    try:
        return parse_subscription(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise forms.ValidationError(f"This browser cannot be added: {error}.") from error


class EnrolForm(NameForm):
    """Fresh sign-in: the password is given again for this very action."""

    password = forms.CharField(
        max_length=1024,
        strip=False,
        label="Your password, once more",
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    subscription = forms.CharField(max_length=4096, widget=forms.HiddenInput)

    def clean_subscription(self) -> Subscription:
        return _parsed(self.cleaned_data["subscription"])


class RenewForm(forms.Form):
    old_endpoint = forms.CharField(max_length=2048, strip=False)
    subscription = forms.CharField(max_length=4096)

    def clean_subscription(self) -> Any:
        return _parsed(self.cleaned_data["subscription"])

"""The settings of backends and roles as inputs of the engine that is chosen."""

from typing import Any

from django import forms
from django.utils.html import escape

from credentials.engines import EngineError, describe_settings, find_engine
from foundation.admin import LegibleJSON
from foundation.settings_fields import Field, Undescribed
from foundation.settings_form import SettingsField

BACKEND, ROLE = "backend", "role"


def settings_field(engine_name: str, which: str) -> forms.Field:
    """The inputs of this engine's settings; JSON if the engine describes them in a way that no input can express."""
    try:
        fields = describe_settings(find_engine(engine_name), which)
    except Undescribed as reason:
        # Django's page takes a help text as HTML, and an engine may come from a third party.
        return LegibleJSON(help_text=f"JSON, because the engine's description has no inputs: {escape(reason)}.")
    except EngineError as reason:
        return LegibleJSON(help_text=f"JSON, because the engine cannot be used: {escape(reason)}")
    return SettingsField(fields, label="Connection" if which == BACKEND else "Rights")


def secret_of(engine_name: str) -> Field:
    """The input of the administrator's secret, as the engine names it."""
    try:
        described: Any = describe_settings(find_engine(engine_name), BACKEND)
    except (Undescribed, EngineError):
        described = ()
    return next((field for field in described if field.is_secret), Field("secret", label="Administrator's secret"))

"""Forms of the administration that show a preview of the prompt beside them (authserver/prompt_preview.py)."""

from typing import Any

from csp.decorators import csp_update
from django.http import HttpRequest
from django.utils.decorators import method_decorator

from operations.examples import Manner


class WithPreview:
    """A mix-in for an admin class whose template includes admin/prompt_preview.html."""

    @method_decorator(csp_update({"frame-src": ["'self'"]}))
    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        context = {"manners": list(Manner), **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)  # type: ignore[misc]  # of the admin class

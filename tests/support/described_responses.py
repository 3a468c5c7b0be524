"""Every answer of /v1 that a test gets through Django's client is checked against the description at /v1/schema.

So the suite's own tests of /v1 prove that the description is true: status, members, types and error codes.
"""

import functools
import json
import re
from typing import Any

import django.test
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from foundation.pending_answers import parked

_DOCUMENT = "urn:description"
_EMPTY_STATUSES = {204}


class Description:
    """The document at /v1/schema."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
        self.operations = {
            operation["operationId"]: operation
            for item in self.document["paths"].values()
            for operation in item.values()
        }
        # An answer may not have a member that is not described.
        resource = Resource(_closed(self.document), DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_DOCUMENT, resource)

    def find_path(self, path: str) -> dict[str, Any] | None:
        """The operations at this address, by method."""
        templates = sorted(self.document["paths"], key=lambda template: template.count("{"))
        return next((self.document["paths"][one] for one in templates if _pattern(one).fullmatch(path)), None)

    def body_problems(self, schema: dict[str, Any], body: Any) -> list[str]:
        """How a value differs from a part of the document."""
        validator = Draft202012Validator(_closed(schema), registry=self._registry, format_checker=FormatChecker())
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(body)]

    def check(self, method: str, path: str, response: Any) -> None:
        """Raises AssertionError where an answer is not as described."""
        call = f"{method} {path} answered {response.status_code}: {response.content[:300]!r}"
        item = self.find_path(path)
        if item is None:
            assert response.status_code in {400, 404}, f"an address that is not described: {call}"
            return
        operation = item.get(("GET" if method == "HEAD" else method).lower())
        if operation is None:
            # The guard refuses what cannot be read, /v1/prompts what has no session, and DRF an Accept header that it
            # cannot satisfy, before the method matters.
            is_refused = response.status_code in {400, 401, 405, 406}
            assert method == "OPTIONS" or is_refused, f"a method that is not described: {call}"
            return
        if method == "HEAD" and response.status_code == 405:
            assert not response.content, call
            return
        described = operation["responses"].get(str(response.status_code))
        assert described is not None, f"a status that is not described: {call}"
        if method == "HEAD" or response.status_code in _EMPTY_STATUSES:
            assert not response.content, call
            return
        self._check_content(described["content"], response, call)
        if response.status_code in {429, 503}:
            assert int(response["Retry-After"]) > 0, call

    def _check_content(self, content: dict[str, Any], response: Any, call: str) -> None:
        media = content.get(response["Content-Type"].partition(";")[0])
        assert media is not None, f"a content type that is not described: {call}"
        if parked(response):
            return
        body = json.loads(response.content)
        assert not (problems := self.body_problems(media["schema"], body)), f"{problems} in {call}"
        codes = {example["value"]["error"] for example in media.get("examples", {}).values()}
        assert not codes or body["error"] in codes, f"an error that is not described, beside {codes}: {call}"


@functools.cache
def description() -> Description:
    return Description()


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{\w+\}", "[^/]+", template.rstrip("/")) + "/?")


def _closed(schema: Any) -> Any:
    """A copy whose objects have no other members than the described ones, and whose references are absolute."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: _DOCUMENT + part if name == "$ref" else _closed(part) for name, part in schema.items()}
    is_object = copy.get("type") == "object" and isinstance(copy.get("properties"), dict)
    return {"additionalProperties": False, **copy} if is_object else copy


_send = django.test.Client.request


def _send_and_check(self: django.test.Client, **environ: Any) -> Any:
    response = _send(self, **environ)
    path = str(environ.get("PATH_INFO", ""))
    if path.startswith("/v1/") and not path.startswith("/v1/schema"):
        description().check(environ["REQUEST_METHOD"], path, response)
    return response


django.test.Client.request = _send_and_check  # type: ignore[method-assign]

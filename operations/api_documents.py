"""Operations in documents of others: OpenAPI 3 (and Swagger 2), and tools of MCP servers. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from operations.tightening import TooLarge, tightened

_METHODS = ("post", "put", "patch", "delete", "get")
_SWAGGER_2 = ("type", "format", "enum", "items", "pattern", "maxLength", "minimum", "maximum")
MAX_OFFERED = 200
_NOT_AN_OBJECT = "it has no object of parameters or JSON body"


class NoOperation(ValueError):
    """The document holds no operation that can be read; the text says what was looked for."""


@dataclass(frozen=True)
class Found:
    """One operation of a document. `key` names it in the form, `title` to an administrator.

    `root` is where the schema's references lead.
    """

    key: str
    title: str
    schema: dict[str, Any]
    root: dict[str, Any]


def operations_in(document: Any) -> list[Found]:
    """The operations that a document offers. Raises NoOperation.

    A document is an OpenAPI description, a list of MCP tools (the result of `tools/list`), one tool, or a
    plain JSON Schema.
    """
    if not isinstance(document, dict):
        raise NoOperation("This is no JSON object. Paste an OpenAPI document, an MCP tool or a JSON Schema.")
    if isinstance(document.get("result"), dict):
        document = document["result"]
    if isinstance(document.get("paths"), dict):
        found = list(_in_paths(document))
    elif isinstance(document.get("tools"), list):
        found = [_tool(one, number) for number, one in enumerate(document["tools"], 1) if _is_tool(one)]
    elif _is_tool(document):
        found = [_tool(document, 1)]
    elif document.get("type") == "object" or "properties" in document or "$ref" in document:
        return [Found("schema", str(document.get("title", ""))[:100], document, document)]
    else:
        found = []
    if not found:
        raise NoOperation(
            "No operation was found. Countersign looks for `paths` (OpenAPI), `tools` or `inputSchema` (MCP), or"
            ' {"type": "object"} (JSON Schema).'
        )
    return found[:MAX_OFFERED]


_TOOL_SCHEMAS = ("inputSchema", "input_schema")  # as MCP names it, and as others do


def _is_tool(one: Any) -> bool:
    return isinstance(one, dict) and any(isinstance(one.get(key), dict) for key in _TOOL_SCHEMAS)


def _tool(one: dict[str, Any], number: int) -> Found:
    name = str(one.get("name") or f"tool {number}")[:100]
    schema = next(one[key] for key in _TOOL_SCHEMAS if isinstance(one.get(key), dict))
    return Found(f"tool {name}", str(one.get("title") or name)[:100], schema, schema)


def _in_paths(document: dict[str, Any]) -> Iterator[Found]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            operation = methods.get(method) if isinstance(methods, dict) else None
            if isinstance(operation, dict):
                shared = methods.get("parameters", [])
                title = str(operation.get("summary") or operation.get("operationId") or f"{method} {path}")
                yield Found(
                    f"{method.upper()} {path}"[:300], title[:100], _schema_of(operation, shared, document), document
                )


def _schema_of(operation: dict[str, Any], shared: Any, document: dict[str, Any]) -> dict[str, Any]:
    """One object of the body's fields and the parameters in path and query: together they say what will run."""
    own = operation.get("parameters", [])
    body = _follow(operation.get("requestBody", {}), document)
    parameters = [_follow(one, document) for one in (*_list(shared), *_list(own))]
    schema: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for one in parameters:
        if one.get("in") == "body":  # Swagger 2
            body = {"content": {"application/json": {"schema": one.get("schema", {})}}, "required": True}
        elif one.get("in") in ("path", "query", "formData") and isinstance(one.get("name"), str):
            described = {"description": one["description"]} if isinstance(one.get("description"), str) else {}
            schema["properties"][one["name"]] = described | _of_parameter(one)
            if one.get("required"):
                schema["required"] = [*dict.fromkeys([*schema["required"], one["name"]])]
    return _joined(schema, _body_schema(body), document)


def _of_parameter(one: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {name: one[name] for name in _SWAGGER_2 if name in one}
    return one["schema"] if isinstance(one.get("schema"), dict) else own or {"type": "string"}


def _body_schema(body: dict[str, Any]) -> dict[str, Any]:
    content = body.get("content")
    if not isinstance(content, dict):
        return {}
    kinds = [kind for kind in content if "json" in kind] or [kind for kind in content if "form" in kind]
    media = content[kinds[0]] if kinds else {}
    return media["schema"] if isinstance(media, dict) and isinstance(media.get("schema"), dict) else {}


def _joined(parameters: dict[str, Any], body: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    resolved = _follow(body, document)
    if not resolved:
        return parameters
    if isinstance(resolved.get("properties"), dict) or resolved.get("allOf"):
        if not parameters["properties"]:
            return resolved
        return {"allOf": [parameters, resolved]}
    return parameters | {
        "properties": parameters["properties"] | {"body": resolved}, "required": [*parameters["required"], "body"],
    }  # fmt: skip


def _follow(part: Any, document: dict[str, Any]) -> dict[str, Any]:
    for _ in range(10):
        if not isinstance(part, dict) or not isinstance(part.get("$ref"), str):
            break
        target: Any = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            target = target.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
        part = target
    return part if isinstance(part, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read(found: Found) -> tuple[dict[str, Any], list[str]]:
    """The operation's tightened schema, and what was changed. Raises NoOperation."""
    try:
        schema, changes = tightened(found.schema, found.root)
    except TooLarge as error:
        raise NoOperation(f"{found.key}: {error}") from error
    if schema.get("type") != "object":
        raise NoOperation(f"{found.key} cannot be used: {_NOT_AN_OBJECT}.")
    return schema, changes

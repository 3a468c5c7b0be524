"""Which facts the code records with which kind of event, read from its syntax trees. Pure but for reading files.

The facts are the keyword arguments of calls of `record` and its like. `**expression` is followed: into a dict, a
local variable, a function that returns a dict, and the callers of a function that passes its own parameter on.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("audit", "accounts", "authserver", "ciba", "clients", "credentials", "devices", "oauth", "operations")
RECORDERS = frozenset({"record", "record_alone", "record_revocation", "record_revocations"})
UNRESOLVED = "…"

Recorded = frozenset[str]
_NONE: Recorded = frozenset()
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Scope:
    """One function of one module."""

    module: ast.Module
    function: _Function

    def assigned(self, name: str) -> list[ast.expr]:
        """Values that the name gets in the function or, where it gets none there, at the top of the module."""
        return _assigned(ast.walk(self.function), name) or _assigned(self.module.body, name)

    def parameters(self) -> set[str]:
        arguments = self.function.args
        return {one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}

    def keyword_parameter(self) -> str:
        """`facts` of `**facts`, or an empty text."""
        return self.function.args.kwarg.arg if self.function.args.kwarg else ""

    def calls(self) -> Iterator[ast.Call]:
        return (node for node in ast.walk(self.function) if isinstance(node, ast.Call))


def find_recorded(root: Path) -> dict[str, Recorded]:
    """The name of an event's constant in audit/events.py → the names of its facts."""
    code = Code([scope for package in PACKAGES for scope in _scopes(root / package)])
    found: dict[str, Recorded] = defaultdict(frozenset)
    for scope in code.scopes:
        for call in scope.calls():
            if code.is_recorder(call, scope):
                for kind in _kinds(call.args[0], scope):
                    found[kind] |= code.facts(call, scope)
    return dict(found)


def _scopes(folder: Path) -> Iterator[Scope]:
    for path in sorted(folder.rglob("*.py")):
        if "migrations" not in path.parts:
            module = ast.parse(path.read_text(encoding="utf-8"))
            yield from (Scope(module, node) for node in ast.walk(module) if isinstance(node, _Function))


class Code:
    """All functions of the product, by name."""

    def __init__(self, scopes: list[Scope]) -> None:
        self.scopes = scopes
        self.recorders = RECORDERS | {one.function.name for one in scopes if _records_a_kind(one)}

    def is_recorder(self, call: ast.Call, scope: Scope) -> bool:
        values = scope.assigned(name) if (name := _called(call)) and isinstance(call.func, ast.Name) else []
        names = {one.id for value in values for one in ast.walk(value) if isinstance(one, ast.Name)}
        return bool(call.args) and (name in self.recorders or bool(names & self.recorders))

    def facts(self, call: ast.Call, scope: Scope) -> Recorded:
        found = [self._of_keyword(keyword, scope) for keyword in call.keywords]
        if _called(call) == "record_revocations":  # its second argument is a list of (about, facts)
            found.append(self._keys(call.args[1], scope))
        return _NONE.union(*found)

    def _of_keyword(self, keyword: ast.keyword, scope: Scope) -> Recorded:
        return self._keys(keyword.value, scope) if keyword.arg is None else frozenset({keyword.arg})

    def _keys(self, node: ast.expr, scope: Scope) -> Recorded:
        """The keys of a dict, or of the dicts in a list of pairs."""
        match node:
            case ast.Dict():
                return _NONE.union(*(self._of_item(*item, scope) for item in zip(node.keys, node.values, strict=True)))
            case ast.IfExp():
                return self._keys(node.body, scope) | self._keys(node.orelse, scope)
            case ast.ListComp():
                return self._keys(node.elt, scope)
            case ast.Tuple(elts=[_, facts]):
                return self._keys(facts, scope)
            case ast.Call():
                return self._returned(node, scope)
            case ast.Name():
                return self._of_name(node.id, scope)
        return frozenset({UNRESOLVED})

    def _of_item(self, key: ast.expr | None, value: ast.expr, scope: Scope) -> Recorded:
        if key is None:
            return self._keys(value, scope)
        return frozenset({str(key.value) if isinstance(key, ast.Constant) else UNRESOLVED})

    def _of_name(self, name: str, scope: Scope) -> Recorded:
        if values := scope.assigned(name):
            return _NONE.union(*(self._keys(value, scope) for value in values))
        return _NONE.union(*(self._passed(name, scope, call, caller) for caller, call in self._callers(scope)))

    def _passed(self, name: str, scope: Scope, call: ast.Call, caller: Scope) -> Recorded:
        """What this call gives for the parameter `name` of the function of `scope`."""
        if name == scope.keyword_parameter():
            given = [one for one in call.keywords if one.arg not in scope.parameters()]
            return _NONE.union(*(self._of_keyword(keyword, caller) for keyword in given))
        return _NONE.union(*(self._keys(one.value, caller) for one in call.keywords if one.arg == name))

    def _callers(self, scope: Scope) -> Iterator[tuple[Scope, ast.Call]]:
        name = scope.function.name
        for caller in self.scopes:
            if (not name.startswith("_") or caller.module is scope.module) and not caller.assigned(name):
                yield from ((caller, call) for call in caller.calls() if _called(call) == name)

    def _returned(self, call: ast.Call, scope: Scope) -> Recorded:
        named = [one for one in self.scopes if one.function.name == _called(call)]
        functions = [one for one in named if one.module is scope.module] or named
        return _NONE.union(*(self._keys(value, one) for one in functions for value in _returns(one.function)))


def _records_a_kind(scope: Scope) -> bool:
    """A function that takes a kind of event and facts, and passes them on."""
    arguments = scope.function.args.args
    return bool(arguments) and arguments[0].arg == "kind" and scope.keyword_parameter() == "facts"


def _kinds(node: ast.expr, scope: Scope) -> set[str]:
    """The constants of audit/events.py that the expression may be."""
    match node:
        case ast.Attribute(value=ast.Name(id="events"), attr=constant):
            return {constant}
        case ast.IfExp():
            return _kinds(node.body, scope) | _kinds(node.orelse, scope)
        case ast.Dict():
            return {kind for value in node.values for kind in _kinds(value, scope)}
        case ast.Subscript(value=ast.Name(id=name)) | ast.Name(id=name):
            return {kind for value in scope.assigned(name) for kind in _kinds(value, scope)}
    return set()


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _assigned(nodes: Iterator[ast.AST] | list[ast.stmt], name: str) -> list[ast.expr]:
    values = []
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                values.append(value)
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                values.append(value)
    return values


def _returns(function: _Function) -> list[ast.expr]:
    return [node.value for node in ast.walk(function) if isinstance(node, ast.Return) and node.value]

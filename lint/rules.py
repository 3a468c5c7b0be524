"""The rules. Each takes the path of a file, relative to the repository, and its syntax tree."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from lint import phrases
from lint.vocabulary import INSTEAD

# Files whose every function is an entry point: a request, a task or a command begins there.
CLOCK_ENTRY_POINTS = frozenset({"admin.py", "api.py", "endpoints.py", "pages.py", "tasks.py"})
CLOCK_FOLDERS = ("authserver/", "web/", "runtime/", "bench/", "examples/", "tests/", "lint/")
# Files that wait for a backend, a lock or the network between two steps, and must read the clock again afterwards.
CLOCK_AFTER_WAITING = frozenset(
    {
        "ciba/callbacks/sender.py",
        "ciba/token_grant.py",
        "clients/published_keys.py",
        "foundation/remote_jwks.py",
        "credentials/backends/breaker.py",
        "credentials/backends/orphans.py",
        "credentials/backends/preflight.py",
        "credentials/backends/rotation.py",
        "credentials/leases/issuance.py",
        "credentials/leases/revocation.py",
        "foundation/outbox.py",
    }
)
# Columns that a StateMachine owns (foundation/state_machine.py), and the models that have one of them.
STATE_COLUMNS = frozenset({"state", "status", "is_active"})
STATEFUL_MODELS = frozenset(
    {"Agent", "Backend", "BackchannelRequest", "Lease", "OperationType", "Role", "User", "Work"}
)
# The outbox is the lifecycle of its own table.
STATE_OWNERS = frozenset({"foundation/outbox.py", "foundation/state_machine.py"})
STATE_FOLDERS = ("web/", "runtime/", "bench/", "examples/", "tests/", "lint/")
# Methods of a queryset or a manager that write columns named by keywords, or by strings.
_WRITES = frozenset({"update", "create", "get_or_create", "update_or_create", "bulk_update", "save", "CompiledUpdate"})
_MOVES = frozenset({"move", "move_all"})
# Folders whose string literals no user of the product reads.
NO_TEXTS = ("tests/", "lint/", "bench/")
# Types of the parameter that a view has.
_REQUESTS = frozenset({"HttpRequest", "Request"})


@dataclass(frozen=True)
class Problem:
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


Rule = Callable[[str, ast.Module], Iterator[Problem]]


def check_vocabulary(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Identifiers use the words of docs/glossary.md. The names of tests are sentences, and are not checked."""
    for name, line in _defined_names(tree):
        for word in _words(name):
            if word in INSTEAD:
                yield Problem(path, line, f"`{name}` uses the word '{word}': say {INSTEAD[word]}")


def check_clock_readers(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Below views, tasks and commands `now` is an argument."""
    name = PurePosixPath(path).name
    if (
        name in CLOCK_ENTRY_POINTS
        or path in CLOCK_AFTER_WAITING
        or path.startswith(CLOCK_FOLDERS)
        or "/commands/" in path
        or "/admin/" in path  # an admin.py that became a package
    ):
        return
    in_views = {id(node) for view in ast.walk(tree) if _is_view(view) for node in ast.walk(view)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in in_views:
            continue
        if ast.unparse(node.func) in ("timezone.now", "datetime.now", "time.time"):
            text = f"`{ast.unparse(node.func)}` below an entry point: take `now` as an argument"
            yield Problem(path, node.lineno, text)


def check_transaction_tests(path: str, tree: ast.Module) -> Iterator[Problem]:
    """Only foundation asks the database connection whether a transaction is open."""
    if path.startswith(("foundation/", "tests/foundation/")):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "in_atomic_block":
            yield Problem(path, node.lineno, "`in_atomic_block`: use inside_transaction or outside_transaction")


def check_state_writers(path: str, tree: ast.Module) -> Iterator[Problem]:
    """A column that a state machine owns is written in lifecycle modules only."""
    if path in STATE_OWNERS or path.startswith(STATE_FOLDERS) or _is_lifecycle(path):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.expr) and (written := _written_state(node)):
            text = f"{written}: a state is written in a lifecycle module only, through its StateMachine"
            yield Problem(path, node.lineno, text)


def check_phrases(path: str, tree: ast.Module) -> Iterator[Problem]:
    """String literals say what happens in the words of the field (lint/phrases.py). Docstrings are not checked."""
    if path.startswith(NO_TEXTS):
        return
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            for _, text in find_phrases(node.value):
                yield Problem(path, node.lineno, text)


def check_template(path: str, source: str) -> list[Problem]:
    """The same for a template or a script. Tags of the template language are code and are not checked."""
    visible = _TAG.sub(lambda tag: re.sub(r"[^\n]", " ", tag[0]), source)
    return [Problem(path, visible.count("\n", 0, start) + 1, text) for start, text in find_phrases(visible)]


def find_phrases(text: str) -> Iterator[tuple[int, str]]:
    """Where `text` uses a phrase of lint/phrases.py, and what to say instead."""
    for found in _PHRASES.finditer(text):
        phrase = " ".join(found[0].lower().split())
        yield found.start(), f"the text says '{phrase}': say {phrases.INSTEAD[phrase]}"


_TAG = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
_PHRASES = re.compile(
    r"\b(?:" + "|".join(r"\s+".join(phrase.split()) for phrase in phrases.INSTEAD) + r")\b", re.IGNORECASE
)

RULES: tuple[Rule, ...] = (
    check_vocabulary,
    check_clock_readers,
    check_transaction_tests,
    check_state_writers,
    check_phrases,
)


def check_source(path: str, source: str) -> list[Problem]:
    """All problems of one file, by line. A line that ends in `# lint: allow` and a reason is passed over."""
    tree = ast.parse(source)
    lines = source.splitlines()
    problems = [problem for rule in RULES for problem in rule(path, tree)]
    return sorted((one for one in problems if not _ALLOWED.search(lines[one.line - 1])), key=lambda one: one.line)


_ALLOWED = re.compile(r"# lint: allow \S+")


def _defined_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if not name.startswith(("test_", "Test")):
                    yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno


def _words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def _is_lifecycle(path: str) -> bool:
    return "lifecycle" in PurePosixPath(path).with_suffix("").parts


def _written_state(node: ast.expr) -> str | None:
    """The text of the assignment or call by which `node` writes a state, or None."""
    match node:
        case ast.Attribute(attr=name, ctx=ast.Store()) if name in STATE_COLUMNS:
            return f"`{ast.unparse(node)} = `"
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in _MOVES:
            return f"`{ast.unparse(node.func)}()`"
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in _WRITES:
            return f"`{name}()` of a state" if _named_columns(node) & STATE_COLUMNS else None
        case ast.Call(func=ast.Name(id=name)) if name in STATEFUL_MODELS:
            return f"`{name}()` with a state" if {one.arg for one in node.keywords} & STATE_COLUMNS else None
    return None


def _named_columns(call: ast.Call) -> set[str | None]:
    """The columns that a call names: by keyword, in `defaults`, or in a list for `save` or `bulk_update`."""
    columns = {one.arg for one in call.keywords}
    for value in [*call.args, *(one.value for one in call.keywords)]:
        listed: list[ast.expr | None] = []
        if isinstance(value, ast.Dict):
            listed = value.keys
        elif isinstance(value, ast.List | ast.Tuple | ast.Set):
            listed = list(value.elts)
        columns |= {one.value for one in listed if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return columns


def _is_view(node: ast.AST) -> bool:
    """A function that has the request itself."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return any(one.annotation is not None and ast.unparse(one.annotation) in _REQUESTS for one in node.args.args)

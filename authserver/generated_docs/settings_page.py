"""docs/settings.md: every variable of the environment, and the sentences that stop a start."""

from typing import Any

from authserver import checks, variables
from authserver.environment import Variable
from authserver.generated_docs.markdown import bullets, code, page, section, table

_INTRO = """\
Every setting is an environment variable. An empty variable counts as not set, but an empty list
is an empty list. Lists are separated by commas. If a value cannot work, Countersign does not start.
It prints one sentence per problem. `manage.py check --deploy --tag production` prints the same
sentences."""

_COLUMNS = ("variable", "default", "values", "meaning")


def render() -> str:
    sections = (section(title, table(_COLUMNS, map(_row, members))) for title, members in all_sections().items())
    return page(
        "Settings",
        _INTRO,
        *sections,
        section("Settings that cannot work", bullets(checks.find_contradictions())),
        section("Settings that production refuses", bullets(checks.find_unsafe())),
    )


def all_sections() -> dict[str, list[Variable[Any]]]:
    """The declared variables below their headings, in the order of their declaration."""
    found: dict[str, list[Variable[Any]]] = {}
    for declared in vars(variables).values():
        if isinstance(declared, variables.Section):
            found[declared.title] = []
        elif isinstance(declared, Variable):
            found[next(reversed(found))].append(declared)
    return found


def _row(variable: Variable[Any]) -> tuple[str, ...]:
    return code(variable.name), variable.default_text or _spelled(variable.default), variable.values, variable.meaning


def _spelled(default: Any) -> str:
    match default:
        case bool():
            return "on" if default else "off"
        case int():
            return str(default)
        case str() if default:
            return code(default)
        case tuple() if default:
            return code(",".join(default))
    return "empty"

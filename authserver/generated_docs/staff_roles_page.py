"""docs/staff-roles.md: the roles of staff, what each reaches in the console, and its permissions."""

from textwrap import fill

from accounts.staff_roles import ROLES
from authserver.generated_docs.markdown import code, page, section, table
from authserver.staff_access import LETTERS, MODELS, PAGES, ModelAccess

_INTRO = """\
A member of staff is a user who may open the administration. A role says what they see and do there.
An administrator chooses roles on the user's page. A user may have several roles.

- A superuser does everything, with or without a role. `manage.py createsuperuser` makes the first
  one. Only a superuser gives single permissions, changes groups of a user, abandons a lease and
  ends a recovery.
- Nobody manages a user who has a right that they lack, and nobody assigns a role that has a right
  that they lack. So security cannot disable an operator or an administrator: a superuser or an
  administrator does.
- Roles count in the administration only. Every endpoint under /v1 answers a member of staff as it
  answers any other user: /v1/prompts lists their own prompts, /v1/operation-types and /v1/schema
  are public, and all others take the token of an agent or the credential of an API.
- A role is a group of Django, such as `Staff: Operator`, with the permissions below. The migration
  makes it, and nobody changes it in the administration."""

_MARK = "●"
_VERBS = {"sees": "see", "adds": "add", "changes": "change", "deletes": "delete"}


def render() -> str:
    titles = [role.title for role in ROLES]
    lists = [row for access in MODELS for row in _rows(access)]
    pages = [(one.title, *_marks(one.opens)) for one in PAGES]
    notes = "\n\n".join(fill(f"{access.title}: {access.note}", 100) for access in MODELS if access.note)
    rights = [(role.title, ", ".join(map(code, sorted(role.permissions)))) for role in ROLES]
    return page(
        "Roles of staff",
        _INTRO,
        section("The roles", table(("role", "what it is for"), [(role.title, role.sentence) for role in ROLES])),
        section("Lists and their rows", table(("list", "what", *titles), lists), notes),
        section("Other pages", table(("page", *titles), pages)),
        section("Permissions", table(("role", "permissions"), rights)),
    )


def _rows(access: ModelAccess) -> list[tuple[str, ...]]:
    who = {text: getattr(access, name) for name, text in _VERBS.items()}
    who |= {f"action {code(name)}": roles for name, roles in access.actions.items()}
    return [(access.title, what, *_marks(roles)) for what, roles in who.items() if roles or what.startswith("action")]


def _marks(roles: str) -> list[str]:
    return [_MARK if letter in roles else "-" for letter in LETTERS]

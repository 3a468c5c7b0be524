"""Every page and action of the administration and every path of /v1, as every role, against authserver/staff_access.py.

The pages come from the registry and the URL table: a new one fails here until the table says who opens it.
"""

import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import Group
from django.db.models import Model
from django.http import HttpRequest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import User
from accounts.staff_roles import ROLES, StaffRole
from audit.models import Event
from authserver.staff_access import LETTERS, MODELS, PAGES, ModelAccess
from ciba.models import Prompt
from clients.models import Agent
from credentials.models import Lease
from tests.properties.administration import make_rows
from tests.properties.conftest import undone
from tests.properties.test_never_500 import every_path
from tests.support.world import Caller, make_user

pytestmark = pytest.mark.django_db

BY_MODEL = {model._meta.label_lower: model for model in site._registry}
# Django's own pages for every member of staff; what they list is checked where they get it from.
FOR_EVERY_STAFF = {"index", "login", "logout", "password_change", "password_change_done", "autocomplete", "jsi18n",
                   "app_list"}  # fmt: skip
READONLY = re.compile(r'<div class="readonly">.*?</div>', re.DOTALL)
STANDARD = ("changelist", "add", "history", "delete", "change")


def letter_of(role: StaffRole) -> str:
    return next(letter for letter, one in LETTERS.items() if one is role)


@pytest.fixture(params=ROLES, ids=[role.name for role in ROLES])
def role(request: Any) -> StaffRole:
    return request.param  # type: ignore[no-any-return]


def make_staff(role: StaffRole, email: str = "staff@example.com") -> User:
    staff = make_user(email, is_staff=True)
    staff.groups.add(Group.objects.get(name=role.group_name))
    return staff


@pytest.fixture
def staff(role: StaffRole) -> User:
    return make_staff(role)


@pytest.fixture
def browser(staff: User) -> Client:
    browser = Client()
    browser.force_login(staff)
    return browser


@pytest.fixture
def rows(agent: Caller, user: User, administrator: User, staff: User) -> dict[str, str]:
    """A row of each model. The agent is one that the member of staff added."""
    make_rows(agent, user, administrator)
    Agent.objects.filter(pk=agent.agent.pk).update(created_by=staff)
    found = {label: str(model._default_manager.order_by("pk").last().pk) for label, model in BY_MODEL.items()}  # type: ignore[union-attr]
    return found | {"accounts.user": str(user.pk), "clients.agent": str(agent.agent.pk)}


def test_the_table_names_every_model() -> None:
    assert [access.model for access in MODELS if access.model not in BY_MODEL] == []
    assert sorted(access.model for access in MODELS) == sorted(BY_MODEL)


def test_the_table_names_every_action(rf: Any, administrator: User) -> None:
    request = rf.get("/")
    request.user = administrator
    for access in MODELS:
        offered = set(site._registry[BY_MODEL[access.model]].get_actions(request)) - {"delete_selected"}
        assert offered == set(access.actions), access.model


def test_the_table_names_every_page() -> None:
    own = {one.name for one in PAGES}
    standard = {f"{label.replace('.', '_')}_{page}" for label in BY_MODEL for page in STANDARD}
    assert set(admin_names()) - standard - FOR_EVERY_STAFF == own - {"index"}


def admin_names() -> list[str]:
    """The names of all URLs below /admin/. The two without a name lead to the others."""

    def names(patterns: list[Any]) -> list[str]:
        inner = [names(one.url_patterns) if isinstance(one, URLResolver) else [one.name] for one in patterns]
        return [name for part in inner for name in part if name]

    found = next(one for one in get_resolver().url_patterns if str(one.pattern) == "admin/")
    assert isinstance(found, URLResolver)
    return names(found.url_patterns)


def url_of(access: ModelAccess, page: str, *args: str) -> str:
    return reverse(f"admin:{access.model.replace('.', '_')}_{page}", args=args)


def test_pages(role: StaffRole, browser: Client, rows: dict[str, str]) -> None:
    me = letter_of(role)
    answers, expected = {}, {}
    for access in MODELS:
        row = rows[access.model]
        page = browser.get(url_of(access, "change", row))
        answers[access.model] = {
            "see the list": browser.get(url_of(access, "changelist")).status_code,
            "see a row": page.status_code,
            "see the history": browser.get(url_of(access, "history", row)).status_code,
            "add": browser.get(url_of(access, "add"), follow=True).status_code,
            "delete": browser.get(url_of(access, "delete", row)).status_code,
            "may save": bool(page.context and page.context.get("has_change_permission")),
        }
        seen, added, deleted = (200 if me in who else 403 for who in (access.sees, access.adds, access.deletes))
        expected[access.model] = {
            "see the list": seen, "see a row": seen, "see the history": seen, "add": added, "delete": deleted,
            "may save": me in access.changes,
        }  # fmt: skip
    assert answers == expected


def test_forms(role: StaffRole, browser: Client, rows: dict[str, str]) -> None:
    """Nothing is posted but what Django itself demands: an allowed form is judged, any other is refused."""
    me = letter_of(role)
    for access in MODELS:
        row, model = rows[access.model], BY_MODEL[access.model]
        forms = (("change", [row], access.changes), ("add", [], access.adds), ("delete", [row], access.deletes))
        for page, args, who in forms:
            with undone():
                before, rows_before = values(model, row), model._default_manager.count()
                answer = browser.post(url_of(access, page, *args), {"post": "yes"})
                assert answer.status_code in ({200, 302} if me in who else {403}), (access.model, page)
                if me not in who:
                    assert (values(model, row), model._default_manager.count()) == (before, rows_before), access.model


def test_actions(role: StaffRole, browser: Client, staff: User, rows: dict[str, str]) -> None:
    me = letter_of(role)
    request: Any = HttpRequest()
    request.user, request.GET = staff, {}
    for access in MODELS:
        row, model = rows[access.model], BY_MODEL[access.model]
        offered = set(site._registry[model].get_actions(request))
        deletes = {"delete_selected"} if me in access.deletes else set()
        assert offered == {name for name, who in access.actions.items() if me in who} | deletes, access.model
        for name in {*access.actions, "delete_selected"} - offered:
            with undone():
                before, events = values(model, row), Event.objects.count()
                sent = {"action": name, "_selected_action": row, "post": "yes"}
                assert browser.post(url_of(access, "changelist"), sent).status_code in {200, 302, 403}
                assert (values(model, row), Event.objects.count()) == (before, events), (access.model, name)


def values(model: type[Model], pk: str) -> Any:
    return model._default_manager.filter(pk=pk).values().first()


ONLY_POST = {
    "oauth_grant_end_branch",
    "credentials_backend_test",
    "operations_operationtype_roll_back",
    "preview-prompt",
}


def test_other_pages(role: StaffRole, browser: Client, rows: dict[str, str]) -> None:
    """An agent that a member of staff may not see is unknown to them: 404."""
    Lease.objects.update(state="stuck")
    args = {
        "kill-agent": [rows["clients.agent"]],
        "clients_agent_handover": [rows["clients.agent"]],
        "end-leases-by": ["agent", rows["clients.agent"]],
        "abandon-lease": [rows["credentials.lease"]],
        "oauth_grant_end_branch": [rows["oauth.grant"]],
        "credentials_backend_test": [rows["credentials.backend"]],
        "operations_operationtype_roll_back": [rows["operations.operationtype"], 1],
        "preview-prompt": ["role"],
    }
    for page in PAGES:
        given = args.get(page.name, ["csv"] if page.name.endswith("_export") else [])
        url, may = reverse(f"admin:{page.name}", args=given), letter_of(role) in page.opens
        if page.name not in ONLY_POST:
            with undone():
                assert browser.get(url).status_code in ({200} if may else {403, 404}), page.name
        if page.name != "index":
            with undone():
                events = Event.objects.count()
                answers = {404} if page.name.endswith("_export") else {200, 302}
                assert browser.post(url).status_code in (answers if may else {403, 404}), page.name
                assert may or Event.objects.count() == events


def test_every_page_links_only_where_the_role_may_go(role: StaffRole, browser: Client, rows: dict[str, str]) -> None:
    """A link to a page that then refuses is a trap. Django links the value of a read-only field without asking."""
    pages = ["/admin/"]
    for access in MODELS:
        if letter_of(role) in access.sees:
            name = access.model.replace(".", "_")
            pages += [reverse(f"admin:{name}_changelist"), reverse(f"admin:{name}_change", args=[rows[access.model]])]
    links = {
        link
        for page in pages
        for link in re.findall(r'href="(/admin/[^"?#]*)', READONLY.sub("", browser.get(page).content.decode()))
        if not link.endswith("/logout/")
    }
    assert len(links) > 5
    assert {link: code for link in sorted(links) if (code := browser.get(link).status_code) not in {200, 302}} == {}


@pytest.mark.parametrize("url", ["/admin/autocomplete/?app_label=clients&model_name=agent&field_name=user&term="])
def test_choices_of_users(url: str, role: StaffRole, browser: Client) -> None:
    assert browser.get(url).status_code == (200 if letter_of(role) in "ASU" else 403)


def test_v1_answers_staff_as_anybody(role: StaffRole, browser: Client, rows: dict[str, str], stranger: User) -> None:
    """A role counts in the administration only. Nobody sees another user's prompts."""
    ordinary = Client()
    ordinary.force_login(stranger)
    paths = [path for path in every_path() if path.startswith("/v1/") and "events" not in path]
    assert len(paths) >= 10
    answers = {
        (method, path): (getattr(ordinary, method)(path).status_code, getattr(browser, method)(path).status_code)
        for path in paths
        for method in ("get", "post", "put", "delete")
    }
    assert {what: codes for what, codes in answers.items() if codes[0] != codes[1]} == {}
    allowed = {path for (method, path), (code, _) in answers.items() if method == "get" and code == 200}
    assert {path.rstrip("/") for path in allowed} == {"/v1/prompts", "/v1/operation-types", "/v1/schema"}
    assert browser.get("/v1/prompts").json()["prompts"] == []
    assert browser.get(f"/v1/prompts/{Prompt.objects.get().pk}").status_code == 404


def test_who_is_no_staff_opens_nothing(agent: Caller, stranger: User) -> None:
    """Even with a role's group: only staff open the administration."""
    stranger.groups.add(*Group.objects.filter(name__startswith="Staff: "))
    browser = Client()
    browser.force_login(stranger)
    for access in MODELS:
        url = reverse(f"admin:{access.model.replace('.', '_')}_changelist")
        assert browser.get(url).status_code == 302 and browser.get(url, follow=True).status_code == 403
    assert browser.post(reverse("admin:kill-agent", args=[agent.agent.pk])).status_code == 302


def test_the_walk_would_see_a_page_without_a_name() -> None:
    found = next(one for one in get_resolver().url_patterns if str(one.pattern) == "admin/")
    assert isinstance(found, URLResolver)
    nameless = [
        pattern
        for one in found.url_patterns
        for pattern in (one.url_patterns if isinstance(one, URLResolver) else [one])
        if isinstance(pattern, URLPattern) and not pattern.name
    ]
    # Of each model, the redirect of an old address to its page; and the page for unknown addresses.
    assert len(nameless) == len(BY_MODEL) + 1

"""Lists of tables with millions of rows: pages by key, a capped count, and searches that use an index."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import IGNORED_PARAMS, SEARCH_VAR, ChangeList
from django.db.models import Q
from django.http import HttpRequest
from django.utils.http import urlencode

from foundation import keyset, parties
from foundation.admin import Careful

AFTER, BEFORE = "after", "before"


class KeysetList(ChangeList):
    """One page after or before a key. `count_in_words` says how many rows match, up to a limit."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        for name in (AFTER, BEFORE):  # a position in the list is no filter, and no link keeps it
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        queryset = super().get_queryset(request, exclude_parameters)
        found = [getattr(request, "search_branches", []), *(getattr(one, "branches", []) for one in self.filter_specs)]
        self.branches: list[Q] = next((one for one in found if len(one) > 1), [])
        return queryset

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:
        """Always the order of the keys: any other order would sort the whole table."""
        return list(self.model_admin.get_ordering(request))

    def get_results(self, request: HttpRequest) -> None:
        order: Any = tuple(self.model_admin.get_ordering(request))
        rows, has_previous, has_next = self._read_page(order, request.GET.get(AFTER), request.GET.get(BEFORE))
        self.result_list = rows
        self.previous_link = self._link(BEFORE, rows[0], order) if has_previous else ""
        self.next_link = self._link(AFTER, rows[-1], order) if has_next else ""
        self._count(has_previous or has_next)
        self.full_result_count = self.result_count  # hides Django's count beside the search box
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = True

    def _link(self, direction: str, row: Any, order: keyset.Order) -> str:
        return self.query_with(**{direction: keyset.encode_key(keyset.key_of(row, order))})

    def _read_page(self, order: keyset.Order, after: str | None, before: str | None) -> tuple[list[Any], bool, bool]:
        """The rows, and whether there are rows before and after them."""
        size = self.list_per_page
        if before:
            reverse = keyset.reverse(order)
            rows = self._read(reverse, self._key(order, before), size + 1)
            if len(rows) > size:
                return rows[size - 1 :: -1], True, True
            after = None  # the first page, which is full
        rows = self._read(order, self._key(order, after), size + 1)
        page = rows[:size]
        return page, bool(after and page), len(rows) > size

    def _read(self, order: keyset.Order, key: list[Any] | None, limit: int) -> list[Any]:
        """Rows of several agents or users: the first of each by its index, and of those the first.

        PostgreSQL would otherwise read the whole table in the order of time where it expects more rows than there are.
        """
        queryset = self.queryset
        if self.branches:
            first = [
                keyset.after(self.queryset.filter(one), order, key).values_list("pk")[:limit] for one in self.branches
            ]
            queryset = queryset.filter(pk__in=first[0].union(*first[1:], all=True))
        return list(keyset.after(queryset, order, key)[:limit])

    def _key(self, order: keyset.Order, text: str | None) -> list[Any] | None:
        try:
            return keyset.decode_key(self.model, order, text) if text else None
        except ValueError as error:
            raise IncorrectLookupParameters(str(error)) from error

    def _count(self, has_more: bool) -> None:
        count = keyset.count_up_to(self.queryset, keyset.MAX_COUNTED) if has_more else len(self.result_list)
        is_capped = count > keyset.MAX_COUNTED
        # If more match, Django's "select all" must not name a number, so it is not offered.
        self.result_count = len(self.result_list) if is_capped else count
        number = f"More than {keyset.MAX_COUNTED:,}" if is_capped else f"{count:,}"
        name = self.opts.verbose_name if count == 1 else self.opts.verbose_name_plural
        self.count_in_words = f"{number} {name}"

    def query_with(self, without: Sequence[str] = (), **more: str) -> str:
        """The query string of this list without some parameters and with others."""
        others = {name: value for name, value in self.filter_params.items() if name not in without}
        return f"?{urlencode(sorted({**others, **more}.items()), doseq=True)}"

    def active_filters(self) -> list[dict[str, Any]]:
        """Every filter in force, the search too, each with the link that removes it."""
        active, named = [], set()
        for spec in self.filter_specs:
            names = [name for name in spec.expected_parameters() if name in self.filter_params]
            named |= set(names)
            if names and (text := self._in_words(spec)):
                active.append({"title": spec.title, "text": text, "remove": self.query_with(names)})
        for name, values in self.filter_params.items():
            if name == SEARCH_VAR and self.query:
                active.append({"title": "search", "text": self.query, "remove": self.query_with([name])})
            elif name not in named and name not in IGNORED_PARAMS:
                title = name.removesuffix("__exact").replace("__", " ").replace("_", " ")
                active.append({"title": title, "text": ", ".join(values), "remove": self.query_with([name])})
        return active

    def _in_words(self, spec: Any) -> str:
        if hasattr(spec, "in_words"):
            return str(spec.in_words())
        selected = [str(one["display"]) for one in spec.choices(self) if one["selected"]]
        return ", ".join(selected) or ", ".join(str(value) for value in spec.used_parameters.values())


class LargeList(Careful):
    """An admin class for a table with millions of rows. `ordering` ends with a unique column and follows an index."""

    change_list_template: ClassVar[Any] = "admin/large_list.html"
    paginator = keyset.CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a number beside each filter would count the table
    sortable_by = ()
    list_per_page = 50
    search_fields = ("id",)  # Django shows a search box only if there is one; get_search_results decides
    previous_label, next_label = "Newer", "Older"
    time_column = "created_at"
    # The columns that hold an agent and a user, and the attribute of the agent that they hold.
    agent_column, agent_key, user_column = "agent_id", "pk", "user_id"
    id_columns: ClassVar[tuple[str, ...]] = ("id",)  # indexed columns with a UUID

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeysetList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        own = [name for one in self.list_filter for name in getattr(one, "names", ())]
        return lookup in own or super().lookup_allowed(lookup, value, request)

    def rows_of_agents(self, agents: list[Any]) -> Q:
        return Q(**{f"{self.agent_column}__in": [getattr(one, self.agent_key) for one in agents]})

    def rows_of_users(self, users: list[Any]) -> Q:
        return Q(**{f"{self.user_column}__in": [one.pk for one in users]})

    def warn_if_cut_off(self, request: HttpRequest, *found: parties.Found) -> None:
        """Says that rows are left out. An export of such a list is refused (audit/exports.py)."""
        if any(one.is_cut_off for one in found):
            request.is_cut_off = True  # type: ignore[attr-defined]
            text = f"More than {parties.MAX_FOUND} agents or users match. The list shows the rows of the first ones."
            self.message_user(request, f"{text} Enter more of the name or address.", messages.WARNING)

    def find(self, request: HttpRequest, term: str) -> list[Q]:
        """Conditions that an index answers, one for each agent, user or row that the term may name."""
        agents, users = parties.find_agents(term), parties.find_users(term)
        self.warn_if_cut_off(request, agents, users)
        wanted = [self.rows_of_agents([one]) for one in agents.rows] + [self.rows_of_users([one]) for one in users.rows]
        if key := parties.as_uuid(term):
            wanted += [Q(**{name: key}) for name in self.id_columns]
        return wanted

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """Names become keys first. What finds nothing is left out: PostgreSQL overestimates unknown keys, and would
        then read the whole table in the order of time.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        wanted = self.find(request, term) if term.isprintable() else []
        found = [one for one in wanted if self.model._default_manager.filter(one).exists()]
        request.search_branches = found  # type: ignore[attr-defined]
        return (queryset.filter(reduce(or_, found)) if found else queryset.none()), False

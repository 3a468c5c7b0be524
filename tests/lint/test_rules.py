"""Our own lint rules: what each refuses, and what it lets pass."""

import pytest

from lint import phrases
from lint.rules import check_source, check_template
from lint.vocabulary import INSTEAD


def problems(path: str, source: str) -> list[str]:
    return [problem.text for problem in check_source(path, source)]


class TestVocabulary:
    @pytest.mark.parametrize(
        "source",
        ["def lend(x): ...", "class Limb: ...", "def f(asked): ...", "told = 1", "MOST_LEASES = 1", "self.may_stay = 1",
         "async def take_buyer(): ...", "class LentAccount: ...", "for person in []: ...", "def f(*, why=1): ..."],
    )  # fmt: skip
    def test_an_identifier_with_a_word_of_our_own_is_refused(self, source: str) -> None:
        assert len(problems("oauth/x.py", source)) == 1

    @pytest.mark.parametrize(
        "source",
        ["def issue(x): ...", "almost = 1", "x = asked_elsewhere()", '"""Whose is it? Nobody was asked here."""',
         "from somewhere import told", "PERSONAL = 1", "def test_nobody_is_asked(): ...", "class TestThePerson: ..."],
    )  # fmt: skip
    def test_other_identifiers_prose_and_sentences_pass(self, source: str) -> None:
        assert problems("oauth/x.py", source) == []

    def test_each_word_says_what_to_use_instead(self) -> None:
        for word, instead in INSTEAD.items():
            (text,) = problems("oauth/x.py", f"{word} = 1")
            assert instead in text


class TestClockReaders:
    @pytest.mark.parametrize("call", ["timezone.now()", "datetime.now(UTC)", "time.time()"])
    def test_the_clock_is_read_in_entry_points_alone(self, call: str) -> None:
        assert len(problems("oauth/grants/lifecycle.py", f"x = {call}")) == 1
        for path in ("oauth/token_endpoint/endpoints.py", "ciba/pages.py", "authserver/sweeps.py", "clients/admin.py",
                     "credentials/admin/roles.py"):  # fmt: skip
            assert problems(path, f"x = {call}") == []

    def test_a_view_is_an_entry_point(self) -> None:
        assert problems("oauth/metadata.py", "def metadata(request: HttpRequest): return timezone.now()") == []
        assert len(problems("oauth/metadata.py", "def metadata(agent: Agent): return timezone.now()")) == 1

    def test_code_that_waited_may_read_it_again(self) -> None:
        assert problems("credentials/leases/issuance.py", "x = timezone.now()") == []

    def test_an_exception_has_a_reason(self) -> None:
        assert problems("oauth/x.py", "x = timezone.now()  # lint: allow the hook has no argument") == []
        assert len(problems("oauth/x.py", "x = timezone.now()  # lint: allow ")) == 1


class TestTransactions:
    def test_only_foundation_looks_at_the_connection(self) -> None:
        source = "if connection.in_atomic_block: ..."
        assert len(problems("oauth/grants/lifecycle.py", source)) == 1
        assert problems("foundation/transactions.py", source) == []


class TestStateWriters:
    @pytest.mark.parametrize(
        "source",
        ["request.state = State.DENIED", "self.status = 1", "role.is_active = False", "rows.update(state=1)",
         "Lease.objects.filter(pk=1).update(problem='', state='revoked')", "Backend.objects.create(status='new')",
         "Lease.objects.get_or_create(pk=1, defaults={'state': 'active'})", "lease.save(update_fields=['state'])",
         "Lease.objects.bulk_update(leases, ('state',))", "LEASE_STATES.move(rows, State.ACTIVE)",
         "LEASE_STATES.move_all(rows, State.ACTIVE)", "CompiledUpdate(build, state=1)", "Lease(id=1, state=2)",
         "for lease.state in states: ..."],
    )  # fmt: skip
    def test_a_state_is_written_in_lifecycle_modules_only(self, source: str) -> None:
        (text,) = problems("credentials/backends/preflight.py", source)
        assert "StateMachine" in text
        for path in ("ciba/lifecycle.py", "credentials/leases/lifecycle/endings.py", "foundation/outbox.py"):
            assert problems(path, source) == []

    @pytest.mark.parametrize(
        "source",
        ["state = State.DENIED", "rows.filter(state=State.DENIED)", "Lease.objects.filter(state=1).update(problem='')",
         "HttpResponse(status=404)", "AuthorizationResponse(state=state)", "lease.state == 1", "sources(State.ACTIVE)",
         "lease.save(update_fields=['problem'])", "movable(rows, State.ACTIVE)"],
    )  # fmt: skip
    def test_reading_a_state_and_other_calls_pass(self, source: str) -> None:
        assert problems("credentials/backends/preflight.py", source) == []


class TestPhrases:
    @pytest.mark.parametrize(
        "source",
        ['x = "The use was given back."', 'f"{n} leases are taken\\nback"', 'x = ("it was", " put to sleep")',
         'log.error("lease %s was Forgotten", lease)', 'f(help_text="What a person reads")'],
    )  # fmt: skip
    def test_a_text_with_a_phrase_of_our_own_is_refused(self, source: str) -> None:
        assert len(problems("oauth/x.py", source)) == 1

    @pytest.mark.parametrize(
        "source",
        ['"""A use that was given back."""', "x = 1  # given back", 'x = "A use is refunded, silently and personally."',
         'def f() -> None:\n    """Taken back."""', 'x = "buyers"'],
    )  # fmt: skip
    def test_other_texts_docstrings_and_comments_pass(self, source: str) -> None:
        assert problems("oauth/x.py", source) == []

    def test_only_texts_of_the_product_are_checked(self) -> None:
        source = 'x = "given back"'
        assert [problems(path, source) for path in ("tests/x.py", "lint/x.py", "bench/x.py")] == [[], [], []]
        assert len(problems("examples/agent.py", source)) == 1

    def test_a_template_is_checked_without_its_tags(self) -> None:
        source = "<p>{% if lent %}\n{{ person }}</p>{# given\nback #}\n<p>It was taken\nback, person.</p>"
        assert [(one.line, one.text.split("'")[1]) for one in check_template("templates/x.html", source)] == [
            (4, "taken back"), (5, "person")
        ]  # fmt: skip

    def test_each_phrase_says_what_to_use_instead(self) -> None:
        for phrase, instead in phrases.INSTEAD.items():
            (text,) = problems("oauth/x.py", f"x = {phrase!r}")
            assert instead in text

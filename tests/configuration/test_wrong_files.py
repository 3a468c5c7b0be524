"""A wrong file: each problem with its line and its path, all at once, and nothing is applied. No text has a secret."""

from pathlib import Path
from typing import Any

import pytest

from audit.models import Event
from operations.models import Resource
from tests.support.configuration import Outcome, apply, apply_file, example, parsed_example

pytestmark = pytest.mark.django_db

TWO = """\
version: 1
resources:
  - identifier: https://a.example/
    name: A
"""


def refused(folder: Path, content: str | dict[str, Any]) -> list[str]:
    """The problems, one a line. Nothing may have changed."""
    outcome: Outcome = apply(folder, content, "--yes")
    assert outcome.code == 2, outcome
    assert not Resource.objects.exists() and not Event.objects.exists()
    head, *problems = outcome.error.splitlines()
    assert head.endswith("countersign.yaml is wrong. Nothing was changed.")
    return problems


# What is wrong → the file, and its only problem.
FORMAT: dict[str, tuple[str, str]] = {
    "an empty file": ("", "must be an object"),
    "a list": ("- version: 1", "line 1: must be an object"),
    "no version": ("resources: []", "line 1, version: is missing"),
    "another version": ("version: 2", "line 1, version: must be 1"),
    "a tab": (
        "version: 1\nresources:\n\t- a",
        "line 3: this is not YAML: found character '\\t' that cannot start any token",
    ),
    "an open bracket": (
        "version: 1\nresources: [",
        "line 2: this is not YAML: expected the node content, but found '<stream end>'",
    ),
    "a control character": ("version: 1\n# \x1b[2J", "line 2: YAML allows no character U+001B"),
    "a second document": ("version: 1\n---\nversion: 1", "line 2: the file has a second document: write one document"),
    "an anchor": (
        "version: 1\nresources: &a []",
        "line 2, resources: anchors (&) and aliases (*) are not allowed: write the value out",
    ),
    "a merge key": (
        TWO + "    <<: {name: B}\n",
        'line 5, resources[0]["<<"]: is no known key: identifier, name, is_active',
    ),
    "an object of Python": (
        "version: !!python/object/apply:os.system [id]",
        "line 1, version: tags (!) are not allowed",
    ),
    "a tag of a standard type": ("version: !!int 1", "line 1, version: tags (!) are not allowed"),
    "a repeated key": ("version: 1\nresources: []\nresources: []", "line 3, resources: line 2 has the same key"),
    "a repeated key of an object": (TWO + "    name: B\n", "line 5, resources[0].name: line 4 has the same key"),
    "a repeated object": (
        TWO + "  - identifier: ' https://a.example/'\n    name: B\n",
        "line 5, resources[1].identifier: line 3 has the same identifier",
    ),
    "a key that is no text": ("version: 1\n1: a", "line 2: a key must be text: quote it"),
    "a key that is a list": ("version: 1\n? [a]\n: b", "line 2: a key must be text: quote it"),
    "an unknown section": ("version: 1\nagent: []", "line 2, agent: is no known key: did you mean agents?"),
    "an unknown field": (TWO + "    nmae: B\n", "line 5, resources[0].nmae: is no known key: did you mean name?"),
    "a section that is an object": ("version: 1\nscopes: {a: 1}", "line 2, scopes: must be an array"),
    "an object that is a text": ("version: 1\nscopes:\n  - calendar", "line 3, scopes[0]: must be an object"),
    "a missing field": ("version: 1\nresources:\n  - identifier: urn:a", "line 3, resources[0].name: is missing"),
    "a text for a truth value": (TWO + "    is_active: yes\n", "line 5, resources[0].is_active: must be true or false"),
    "a number for a text": (
        "version: 1\nresources:\n  - identifier: urn:a\n    name: 1",
        "line 4, resources[0].name: must be a string",
    ),
    "a null for a text": (
        "version: 1\nresources:\n  - identifier: urn:a\n    name:",
        "line 4, resources[0].name: must be a string",
    ),
    "an empty name": (
        "version: 1\nresources:\n  - identifier: urn:a\n    name: ''",
        "line 4, resources[0].name: must have at least 1 character",
    ),
    "a NUL": (
        'version: 1\nresources:\n  - identifier: urn:a\n    name: "a\\0b"',
        "line 4, resources[0].name: has a character that cannot be stored",
    ),
    "half of a character": (
        'version: 1\nresources:\n  - identifier: urn:a\n    name: "\\ud800"',
        "line 4, resources[0].name: has a character that cannot be stored",
    ),
    "a number that is too large": ("version: 1e400", "line 1, version: has a number that is too large"),
    "an integer that is too long": (f"version: {'9' * 5000}", "line 1, version: has a number that is too large"),
}


@pytest.mark.parametrize("what", FORMAT)
def test_the_format(tmp_path: Path, what: str) -> None:
    content, problem = FORMAT[what]
    assert refused(tmp_path, content) == [problem]


# What is wrong → a text of the example, its replacement, and the first problem.
OBJECTS: dict[str, tuple[str, str, str]] = {
    "a resource that is no URI": (
        "identifier: https://payments.example.com/\n",
        "identifier: payments\n",
        "line 3, resources[0].identifier: An absolute URI without a fragment, for example https://payments.example.com/",
    ),
    "a scope of an unknown resource": (
        "resource: https://payments.example.com/\n    description",
        "resource: urn:x\n    description",
        "line 7, scopes[0].resource: there is no resource 'urn:x'",
    ),
    "a scope of OpenID Connect": (
        "  - name: payments.read",
        "  - name: openid",
        "line 6, scopes[0].name: OpenID Connect defines this scope.",
    ),
    "a scope with a space": (
        "  - name: payments.read",
        "  - name: payments read",
        "line 6, scopes[0].name: A scope's name has no space, ",
    ),
    "the scope of Countersign": (
        "  - name: payments.read",
        "  - name: leases",
        "line 6, scopes[0].name: Countersign uses this itself: leave it out of the file",
    ),
    "an unknown risk": (
        "risk: sensitive\noperation",
        "risk: high\noperation",
        "line 9, scopes[0].risk: must be one of 'routine', 'sensitive', 'critical'",
    ),
    "an open schema": (
        "      additionalProperties: false\n",
        "",
        'line 19, operation_types[0].schema: the schema: every object must have "additionalProperties": false',
    ),
    "a field that the wording does not have": (
        "{creditor}",
        "{creditors}",
        "line 14, operation_types[0].summary: creditors is not a required field of the schema",
    ),
    "a pattern that could run for ever": (
        "'^[A-Z]{3}$'",
        "'(a)\\1'",
        "line 19, operation_types[0].schema: /currency: back-references (\\1) are not supported",
    ),
    "too many uses": ("uses: 1\n", "uses: 1001\n", "line 17, operation_types[0].uses: must be at most 1000"),
    "a type with the name of a role's": (
        "  - name: payment\n",
        "  - name: credential:x\n",
        "line 11, operation_types[0].name: names that begin with credential: are for credential roles: write ",
    ),
    "a permission that does not exist": (
        "clients.view_agent",
        "clients.delete_agent",
        "line 30, groups[1].permissions: the permission clients.delete_agent does not exist",
    ),
    "the group of a staff role": (
        "name: Agent managers",
        "name: 'Staff: Auditor'",
        "line 29, groups[1].name: this is the group of a staff role, which Countersign writes itself",
    ),
    "an unknown engine": (
        "engine: postgres",
        "engine: oracle",
        "line 33, backends[0].engine: Value 'oracle' is not a valid choice.",
    ),
    "a setting that the engine does not know": (
        "database: orders,",
        "database: orders, password: hunter2,",
        "line 34, backends[0].settings: settings: Additional properties are not allowed ('password' was unexpected)",
    ),
    "a new backend without a secret": (
        "    secret: {env: CONFIG_SECRET_ORDERS}\n",
        "",
        "line 32, backends[0].secret: a new backend needs the secret of its administrator account",
    ),
    "a secret in the file": (
        "{env: CONFIG_SECRET_ORDERS}",
        "hunter2",
        "line 35, backends[0].secret: must be an object",
    ),
    "another variable": (
        "CONFIG_SECRET_ORDERS",
        "SECRET_KEY",
        "line 35, backends[0].secret.env: must match the pattern ^CONFIG_SECRET_[A-Z0-9_]+$",
    ),
    "two places of a secret": (
        "{env: CONFIG_SECRET_ORDERS}",
        "{env: CONFIG_SECRET_A, file: a}",
        "line 35, backends[0].secret: must have at most 1 field",
    ),
    "a default lifetime above the maximum": (
        "max_lifetime: 900",
        "max_lifetime: 60",
        "line 37, credential_roles[0].default_lifetime: The default lifetime must not be longer than ",
    ),
    "a role without the engine's rights": (
        "settings: {groups: [orders_reader]}",
        "settings: {group: x}",
        "line 43, credential_roles[0].settings: settings: ",
    ),
    "a role of an unknown backend": (
        "    backend: orders\n",
        "    backend: other\n",
        "line 38, credential_roles[0].backend: there is no backend 'other'",
    ),
    "a client_id with a slash": (
        "client_id: payment-assistant",
        "client_id: https://a.example/",
        "line 46, agents[0].client_id: must match the pattern ^[A-Za-z0-9._-]{1,100}$",
    ),
    "a client_id like a user's sub": (
        "client_id: payment-assistant",
        "client_id: 0B0e5b1e-5b0e-4b0e-8b0e-0b0e5b1e5b0e",
        "line 46, agents[0].client_id: this looks like the id of a user: choose another client_id",
    ),
    "an agent without keys": (
        "    client_jwks_uri: https://agents.example.com/payment-assistant/jwks.json\n",
        "",
        "line 46, agents[0].client_jwks: private_key_jwt needs the agent's public keys or their address.",
    ),
    "an address of keys at another port": (
        "https://agents.example.com/payment-assistant/jwks.json",
        "https://agents.example.com:22/k",
        "line 49, agents[0].client_jwks_uri: Countersign does not call this address: ",
    ),
    "a private key": (
        "client_jwks_uri: https://agents.example.com/payment-assistant/jwks.json",
        "client_jwks: {keys: [{kty: EC, crv: P-256, x: a, y: b, d: hunter2}]}",
        "line 49, agents[0].client_jwks: ",
    ),
    "a scope that does not exist": (
        "scopes: [leases, payments.read]",
        "scopes: [leases, payments.write]",
        "line 50, agents[0].scopes: there is no scope 'payments.write'",
    ),
    "an operation type that does not exist": (
        "'credential:orders-readonly', payment",
        "'credential:other', payment",
        "line 51, agents[0].operation_types: there is no operation type 'credential:other'",
    ),
    "a group that does not exist": (
        "groups: [Treasury]",
        "groups: [Treasurer]",
        "line 52, agents[0].groups: there is no group 'Treasurer'",
    ),
    "an owner who does not exist": (
        "    groups: [Treasury]\n",
        "    owner: a@b.example\n",
        "line 52, agents[0].owner: no user has this e-mail address",
    ),
    "an invisible character in a name": (
        "name: Payment Assistant",
        'name: "Pay\\u202Eer"',
        "line 47, agents[0].name: The name has the character U+202E, which cannot be shown.",
    ),
    "an agent of CIBA without openid": (
        "    groups: [Treasury]\n",
        "    identity_scopes: []\n",
        "line 52, agents[0].identity_scopes: an agent that uses CIBA needs openid",
    ),
    "a redirect URI of a script": (
        "    groups: [Treasury]\n",
        "    redirect_uris: ['javascript:x']\n",
        "line 52, agents[0].redirect_uris: ",
    ),
    "a symmetric key of an issuer": (
        "jwks_uri: https://login.example.com/jwks.json",
        "jwks: {keys: [{kty: oct, k: hunter2}]}",
        "line 55, hint_issuers[0].jwks: a key is private or symmetric",
    ),
    "an issuer with an algorithm of its own": (
        "jwks_uri: https://login",
        "algorithms: [HS256]\n    jwks_uri: https://login",
        "line 55, hint_issuers[0].algorithms[0]: must be one of 'ES256', ",
    ),
}


@pytest.mark.parametrize("what", OBJECTS)
def test_an_object(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SECRET_ORDERS", "the secret")
    old, new, expected = OBJECTS[what]
    content = example()
    assert content.count(old) == 1, content.count(old)
    problems = refused(tmp_path, content.replace(old, new))
    assert problems[0].startswith(expected) and len(problems) <= 3, problems  # what refers to the object may follow
    assert not any("hunter2" in one for one in problems)


def test_all_problems_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SECRET_ORDERS", "the secret")
    content = parsed_example()
    for one in ("scopes", "operation_types"):
        content[one][0]["resource"] = "urn:x"
    content["agents"][0]["name"] = "\u202e"
    content["hint_issuers"][0] = {"issuer": "x"}
    assert [one.partition(": ")[0].partition(", ")[2] for one in refused(tmp_path, content)] == [
        "scopes[0].resource", "operation_types[0].resource", "agents[0].name", "hint_issuers[0].jwks",
    ]  # fmt: skip
    content["agents"][0] |= {"nmae": 1, "scopes": "a", "max_leases": 0}
    content["other"] = []
    assert [one.partition(": ")[0].partition(", ")[2] for one in refused(tmp_path, content)] == [
        "agents[0].scopes", "agents[0].nmae", "agents[0].max_leases", "other",
    ]  # fmt: skip


def test_text_of_the_file_cannot_write_to_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_SECRET_ORDERS", "the secret")
    hostile = '"\\e[2J\\u202e\\n::error::x"'
    content = example().replace("engine: postgres", f"engine: {hostile}").replace("[leases, ", f"[{hostile}, ")
    for problems in (refused(tmp_path, content), refused(tmp_path, f"version: 1\n{hostile}: 1")):
        assert all(one.startswith("line ") and one.isprintable() for one in problems)
        assert "\\u001b" in problems[0] or "\\x1b" in problems[0], problems


class TestFilesThatWouldTakeLong:
    def test_a_bomb_of_aliases(self, tmp_path: Path) -> None:
        layers = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20)]
        problems = refused(tmp_path, "\n".join(["version: 1", "a0: &a0 [lol]", *layers]))
        assert len(problems) > 20 and all("anchors" in one for one in problems)

    @pytest.mark.parametrize("opened", ["[", "{a: ", "- ", "? "])
    def test_deep_nesting(self, tmp_path: Path, opened: str) -> None:
        problems = refused(tmp_path, "version: 1\nresources: \n " + opened * 100_000)
        assert any("nested more than 50 deep" in one or "not YAML" in one for one in problems)

    def test_a_large_file(self, tmp_path: Path) -> None:
        assert refused(tmp_path, "# " + "a" * 1024 * 1024) == ["the file has more than 1048576 bytes"]

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        path.write_bytes(b"version: 1\n\xff")
        assert apply_file(path, "--yes").error.endswith("\nline 2: the file is not UTF-8")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    outcome = apply_file(tmp_path / "missing.yaml")
    assert outcome.code == 2 and outcome.error.endswith("cannot be read: No such file or directory")
    assert apply_file(tmp_path).code == 2


class TestWhatNeverChanges:
    """Another value means another object: tokens, leases and accounts refer to the old one."""

    @pytest.mark.parametrize(
        ("section", "field", "value"),
        [("scopes", "resource", "urn:b"), ("operation_types", "resource", "urn:b"), ("backends", "engine", "mysql"),
         ("credential_roles", "backend", "second")],
    )  # fmt: skip
    def test_is_refused(
        self, tmp_path: Path, section: str, field: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONFIG_SECRET_ORDERS", "the secret")
        assert apply(tmp_path, example(), "--yes").code == 4
        earlier = Event.objects.count()
        content = parsed_example()
        content["resources"].append({"identifier": "urn:b", "name": "B"})
        content["backends"].append(content["backends"][0] | {"name": "second"})
        content[section][0][field] = value
        outcome = apply(tmp_path, content, "--yes")
        assert outcome.code == 2 and f"{section}[0].{field}: cannot change: add a " in outcome.error
        assert Event.objects.count() == earlier and not Resource.objects.filter(identifier="urn:b")

    def test_two_spellings_of_one_resource_are_refused(self, tmp_path: Path) -> None:
        """The second is found when the first is there: in the transaction, which ends with nothing."""
        content = {"version": 1, "resources": [{"identifier": "https://a.example", "name": "A"},
                                               {"identifier": "https://A.example:443/", "name": "B"}]}  # fmt: skip
        (problem,) = refused(tmp_path, content)
        assert "resources[1].identifier: https://a.example is already registered" in problem

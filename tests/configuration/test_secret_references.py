"""References to secrets: which names and files are refused, and that no text has a secret."""

import os
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from authserver.configuration.secret_references import UnresolvedSecret, resolve
from credentials.backends.secrets import target_of
from credentials.models import Backend
from tests.support.configuration import apply, example

SECRET = "hunter2"


@pytest.fixture
def folder(tmp_path: Path, settings: LazySettings) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    settings.CONFIG_SECRETS_DIR = str(made)
    (tmp_path / "outside").write_text(SECRET)
    return made


@pytest.mark.parametrize("content", [SECRET, f"{SECRET}\n", f"{SECRET}\r\n"])
def test_a_file_has_the_secret_and_perhaps_a_newline(folder: Path, content: str) -> None:
    (folder / "orders").write_bytes(content.encode())
    assert resolve({"file": "orders"}) == SECRET


def test_only_one_newline_does_not_count(folder: Path) -> None:
    (folder / "orders").write_text(f" {SECRET}\n\n")
    assert resolve({"file": "orders"}) == f" {SECRET}\n"


def test_a_link_inside_the_directory_is_followed(folder: Path) -> None:
    """As Kubernetes mounts secrets: the name leads to ..data, which leads to the newest directory."""
    (folder / "..2026").mkdir()
    (folder / "..2026" / "orders").write_text(SECRET)
    (folder / "..data").symlink_to("..2026")
    (folder / "orders").symlink_to("..data/orders")
    assert resolve({"file": "orders"}) == SECRET


@pytest.mark.parametrize(
    "name",
    ["../outside", "..", ".", "", "/etc/passwd", "a/../../outside", "..2026/orders", ".hidden", "a\x00b", "a\\b/.."],
)
def test_a_path_is_refused(folder: Path, name: str) -> None:
    (folder / "a").mkdir()
    with pytest.raises((UnresolvedSecret, ValueError)):
        resolve({"file": name})


@pytest.mark.parametrize(
    "kind", ["link to a file", "link to a directory", "link in a link", "directory", "pipe", "missing"]
)
def test_what_is_no_file_of_the_directory_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    path = folder / "orders"
    match kind:
        case "link to a file":
            path.symlink_to(tmp_path / "outside")
        case "link to a directory":
            path.symlink_to("/etc")
        case "link in a link":
            (folder / "other").symlink_to("../outside")
            path.symlink_to("other")
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)  # nobody writes to it: who waits, waits for good
    with pytest.raises(UnresolvedSecret):
        resolve({"file": "orders"})


def test_a_directory_beside_with_the_same_beginning_is_outside(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets-of-others").mkdir()
    (tmp_path / "secrets-of-others" / "a").write_text(SECRET)
    (folder / "orders").symlink_to("../secrets-of-others/a")
    with pytest.raises(UnresolvedSecret, match="leads out"):
        resolve({"file": "orders"})


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"x" * 70_000])
def test_an_unusable_content_is_refused(folder: Path, content: bytes) -> None:
    (folder / "orders").write_bytes(content)
    with pytest.raises(UnresolvedSecret):
        resolve({"file": "orders"})


def test_without_a_directory_no_file_can_be_named(settings: LazySettings) -> None:
    settings.CONFIG_SECRETS_DIR = ""
    with pytest.raises(UnresolvedSecret, match="CONFIG_SECRETS_DIR is not set"):
        resolve({"file": "README.md"})


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "PATH", "XCONFIG_SECRET_A"])
def test_another_variable_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(UnresolvedSecret) as refused:
        resolve({"env": name})
    assert SECRET not in str(refused.value)


@pytest.mark.django_db
class TestInAFile:
    @pytest.mark.parametrize(
        ("reference", "problem"),
        [
            ("{env: CONFIG_SECRET_MISSING}", "the environment variable CONFIG_SECRET_MISSING is not set"),
            ("{env: CONFIG_SECRET_EMPTY}", "the secret is empty"),
            ("{file: missing}", "the file missing cannot be read: No such file or directory"),
            ("{file: linked}", "the file linked is a link that leads out of CONFIG_SECRETS_DIR"),
        ],
    )
    def test_what_does_not_resolve_is_a_problem_of_its_line(
        self, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, reference: str, problem: str
    ) -> None:
        monkeypatch.setenv("CONFIG_SECRET_EMPTY", "")
        (folder / "linked").symlink_to("../outside")
        content = example().replace("{env: CONFIG_SECRET_ORDERS}", reference)
        for options in (["--yes"], ["--check"]):
            outcome = apply(tmp_path, content, *options)
            assert outcome.code == 2 and outcome.error.endswith(f"line 35, backends[0].secret: {problem}")
        assert not Backend.objects.exists()

    @pytest.mark.parametrize(
        "reference",
        ["{file: ../outside}", "{file: /etc/passwd}", "{file: .hidden}", "{env: PATH}", "{url: a}", "{}", "null"],
    )
    def test_another_name_is_refused_before(self, tmp_path: Path, folder: Path, reference: str) -> None:
        outcome = apply(tmp_path, example().replace("{env: CONFIG_SECRET_ORDERS}", reference), "--yes")
        assert outcome.code == 2 and "backends[0].secret" in outcome.error and SECRET not in outcome.error

    def test_a_file_of_the_directory_is_sealed(self, tmp_path: Path, folder: Path) -> None:
        (folder / "orders").write_text(f"{SECRET}\n")
        content = example().replace("{env: CONFIG_SECRET_ORDERS}", "{file: orders}")
        outcome = apply(tmp_path, content, "--yes")
        assert outcome.code == 4 and SECRET not in outcome.text + outcome.error
        backend: Any = Backend.objects.get()
        assert target_of(backend).secret == SECRET and SECRET.encode() not in bytes(backend.sealed_secret)

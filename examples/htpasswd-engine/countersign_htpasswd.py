"""An engine for web servers that read htpasswd files (nginx, Apache): one line for each account.

A whole engine, to start from (docs/guides/engines.md). The system is a folder with one file for each site; whoever may
write there is its administrator. A web server looks into the file at each request, so there are no sessions to end.
"""

import fcntl
import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from credentials.engines import (
    AccountMissing,
    BackendAddress,
    BackendUnreachable,
    DatabaseAccount,
    EngineError,
    Presence,
)

_SITE = {"type": "string", "pattern": r"^[a-z0-9-]{1,40}(?![\s\S])"}
PROBES = "countersign-probes"  # a site that no web server serves: for accounts without a role


class Session:
    """A web server's answer to this name and password."""

    def __init__(self, file: Path, line: str) -> None:
        self._file, self._line = file, line

    def is_alive(self) -> bool:
        return self._line in _lines(self._file)

    def close(self) -> None:
        """There is nothing to close."""


class FolderLink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, account: DatabaseAccount, password: str) -> None:
        with self._changing(self._site_of(account)) as lines:
            if any(_name(line) == account.name for line in lines):
                raise EngineError("there is an account of this name")
            lines += [f"# {account.name} {account.trace.text}", _line(account.name, password)]

    def set_password(self, account: DatabaseAccount, password: str) -> None:
        with self._changing(self._site_of(account)) as lines:
            places = [number for number, line in enumerate(lines) if line.startswith(f"{account.name}:")]
            if not places:
                raise AccountMissing("there is no such account")
            lines[places[0]] = _line(account.name, password)

    def renew(self, account: DatabaseAccount) -> None:
        """The file knows no expiry: Countersign's own is the only one."""
        if not self.verify(account.name).exists:
            raise AccountMissing("there is no such account")

    def revoke(self, account: DatabaseAccount) -> None:
        """From every site: of an orphan, which one it was is not known."""
        for site in self._sites():
            with self._changing(site) as lines:
                lines[:] = [line for line in lines if _name(line) != account.name]

    def verify(self, name: str) -> Presence:
        there = any(_name(line) == name for site in self._sites() for line in self._read(site))
        return Presence(exists=there, can_log_in=there)

    def list_owned(self, prefix: str) -> list[str]:
        names = {_name(line) for site in self._sites() for line in self._read(site)}
        return sorted(name for name in names if name.startswith(prefix))

    def excess_rights(self) -> list[str]:
        return ["Everybody may write to its folder."] if self._folder.stat().st_mode & 0o002 else []

    def set_own_secret(self, secret: str) -> None:
        raise EngineError("a folder has no secret; its permissions are what keeps others out")

    def close(self) -> None:
        """There is nothing to close."""

    def _site_of(self, account: DatabaseAccount) -> Path:
        return self._folder / account.settings.get("site", PROBES)

    def _sites(self) -> list[Path]:
        """Raises Unreachable: where the folder is gone, nothing is known about any account."""
        if not self._folder.is_dir():
            raise BackendUnreachable("the folder is not there")
        return [path for path in self._folder.iterdir() if path.is_file() and not path.name.startswith(".")]

    def _read(self, site: Path) -> list[str]:
        try:
            return _lines(site)
        except OSError as error:
            raise BackendUnreachable(f"{site.name}: {error.strerror}") from error

    @contextmanager
    def _changing(self, site: Path) -> Iterator[list[str]]:
        """Whole or not at all, one at a time: the new file takes the old one's place."""
        try:
            with (self._folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                lines = _lines(site)
                before = list(lines)
                yield lines
                if lines != before:
                    new = self._folder / f".{site.name}.new"
                    new.write_text("".join(f"{line}\n" for line in lines))
                    new.replace(site)
        except OSError as error:
            raise BackendUnreachable(f"{site.name}: {error.strerror}") from error


class Htpasswd:
    title = "Web server with htpasswd files"
    max_name = 64
    is_revocable = True
    backend_schema: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["folder", "url"],
        "properties": {
            "folder": {"type": "string", "pattern": "^/"},
            "url": {"type": "string", "pattern": "^https?://"},
        },
    }
    role_schema: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["site"],
        "properties": {"site": _SITE},
    }

    def problems_with_role(self, settings: Mapping[str, Any]) -> list[str]:
        return ["that site is for probes"] if settings["site"] == PROBES else []

    def connect(self, target: BackendAddress) -> FolderLink:
        folder = Path(target.settings["folder"])
        if not folder.is_dir():
            raise BackendUnreachable("the folder is not there")
        return FolderLink(folder)

    @contextmanager
    def log_in(self, target: BackendAddress, name: str, password: str) -> Iterator[Session]:
        line = _line(name, password)
        for site in Path(target.settings["folder"]).iterdir():
            if site.is_file() and line in _lines(site):
                yield Session(site, line)
                return
        raise EngineError("no site lets this account in")

    def connection_facts(self, target: BackendAddress, account: DatabaseAccount) -> dict[str, Any]:
        return {"url": f"{target.settings['url'].rstrip('/')}/{account.settings['site']}/"}


ENGINE = Htpasswd()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _name(line: str) -> str:
    """Of the account that this line is about, its comment too."""
    return line[2:].partition(" ")[0] if line.startswith("# ") else line.partition(":")[0]


def _line(name: str, password: str) -> str:
    """Issued passwords have 256 random bits: nobody finds one from its digest, however fast that is made."""
    made = hashlib.sha1(password.encode()).digest()  # noqa: S324 - one of the two forms that every web server reads
    return f"{name}:{{SHA}}{b64encode(made).decode()}"

"""Resolves references to secrets: environment variables, and files of one directory.

Only apply_config resolves references. An import contract keeps this module out of the web process,
so that no request can read the server's environment or files.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings

PREFIX = "CONFIG_SECRET_"
MAX_BYTES = 65_536


class UnresolvedSecret(Exception):
    """The message says why, and never has the secret."""


def resolve(reference: Mapping[str, str]) -> str:
    """The secret that `{env: NAME}` or `{file: name}` names. Raises UnresolvedSecret."""
    secret = _read_variable(reference["env"]) if "env" in reference else _read_file(reference["file"])
    if not secret:
        raise UnresolvedSecret("the secret is empty")
    return secret


def _read_variable(name: str) -> str:
    if not name.startswith(PREFIX):
        raise UnresolvedSecret(f"the name of the variable must begin with {PREFIX}")
    if name not in os.environ:
        raise UnresolvedSecret(f"the environment variable {name} is not set")
    return os.environ[name]


def _read_file(name: str) -> str:
    """A link may point to another file of the same directory, as in a Kubernetes volume, and not out of it."""
    if not settings.CONFIG_SECRETS_DIR:
        raise UnresolvedSecret("CONFIG_SECRETS_DIR is not set, so no file can be named")
    if name != Path(name).name or name.startswith("."):
        raise UnresolvedSecret("the name must be that of a file in CONFIG_SECRETS_DIR, without a path")
    folder = Path(settings.CONFIG_SECRETS_DIR).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise UnresolvedSecret(f"the file {name} is a link that leads out of CONFIG_SECRETS_DIR")
    try:
        return _read_regular(path)
    except UnicodeDecodeError as error:
        raise UnresolvedSecret(f"the file {name} is not UTF-8") from error
    except OSError as error:
        raise UnresolvedSecret(f"the file {name} cannot be read: {error.strerror}") from error


def _read_regular(path: Path) -> str:
    # Opened without following a link that was put there meanwhile, and without waiting for a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is not a regular file")
        if status.st_size > MAX_BYTES:
            raise OSError(0, f"it has more than {MAX_BYTES} bytes")
        text = file.read(MAX_BYTES).decode()
    return text.removesuffix("\n").removesuffix("\r")

"""Secrets and addresses in files: key-encryption keys, the demo's own secrets, run.env."""

import os
import secrets
from base64 import b64decode, b64encode
from pathlib import Path


def read_run_env(data_dir: Path) -> list[str]:
    """Reads DATABASE_URL and similar variables from DATA_DIR/run.env, unless the environment sets
    them.

    Returns why it cannot, as sentences.
    """
    try:
        lines = (data_dir / "run.env").read_text().splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [f"DATA_DIR: {data_dir / 'run.env'} cannot be read ({_reason(error)})."]
    for line in lines:
        name, found, value = line.partition("=")
        if found:
            os.environ.setdefault(name, value)
    return []


def _reason(error: Exception) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else "it is not text in UTF-8"


def _make_once(path: Path, content: str) -> str:
    """The file's content. The first caller writes it with mode 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.touch(mode=0o600)
    partial.write_text(content)
    try:
        os.link(partial, path)  # atomic, and fails if the file exists: all callers read the same complete file
    except FileExistsError:
        pass
    finally:
        partial.unlink()
    return path.read_text()


def demo_secret(data_dir: Path) -> str:
    return _make_once(data_dir / "keys" / "secret-key", secrets.token_urlsafe(48))


def read_key_encryption_keys(file: str, generate_in: Path | None) -> dict[str, bytes]:
    """Key id → 32-byte key.

    The first key encrypts, all keys decrypt. The file has lines of `id:base64`.

    Without a file, the demo generates one. Production gets an empty table and refuses to start
    (authserver/checks.py). Raises ValueError with a sentence.
    """
    if file:
        try:
            text = Path(file).read_text()
        except (OSError, ValueError) as error:
            raise ValueError(f"KEY_ENCRYPTION_KEYS_FILE {file} cannot be read ({_reason(error)}).") from error
    elif generate_in is not None:
        text = _make_once(
            generate_in / "keys" / "key-encryption-keys",
            f"k{secrets.token_hex(4)}:{b64encode(secrets.token_bytes(32)).decode()}\n",
        )
    else:
        return {}
    keys: dict[str, bytes] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        key_id, _, encoded = line.partition(":")
        try:
            key = b64decode(encoded, validate=True)
        except ValueError:
            key = b""
        if not key_id.isalnum() or len(key_id) > 32 or len(key) != 32:
            raise ValueError("KEY_ENCRYPTION_KEYS_FILE must have lines `id:base64 of 32 random bytes` and no others.")
        if key_id in keys:
            raise ValueError(f"KEY_ENCRYPTION_KEYS_FILE has two keys with the id {key_id}.")
        keys[key_id] = key
    return keys

"""Keys that `trunkline login` has stored, one for each server, which their owner alone reads."""

import json
import os
import tempfile
from pathlib import Path

import click

from trunkline.cli.output import Failure

_FILE = "keys.json"
_UNIX = "unix:"


def stored_key(address: str) -> str | None:
    """Returns the key that is stored for a server at this very address."""
    return _read().get(_canonical(address))


def store_key(address: str, key: str) -> Path:
    """Stores the key for a server; returns the file."""
    return _write(_read() | {_canonical(address): key})


def drop_key(address: str) -> bool:
    """Forgets the key for a server; returns whether there was one."""
    keys = _read()
    if keys.pop(_canonical(address), None) is None:
        return False
    _write(keys)
    return True


def _canonical(address: str) -> str:
    """Returns one spelling of an address; a socket by a path that is the same in every folder."""
    if address.startswith(_UNIX):
        path = address.removeprefix(_UNIX)
        return _UNIX + os.path.abspath(path.removeprefix("//") if path.startswith("///") else path)
    return address.lower()


def _path() -> Path:
    return Path(click.get_app_dir("trunkline")) / _FILE


def _read() -> dict[str, str]:
    path = _path()
    try:
        with path.open(encoding="utf-8") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                raise Failure(f"{path} can be read by others, and holds keys: chmod 600 it")
            keys = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failure(f"{path} holds no keys any more ({error}): delete it, log in again") from None
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise Failure(f"{path} holds no keys any more: delete it, log in again")
    return keys


def _write(keys: dict[str, str]) -> Path:
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    descriptor, part = tempfile.mkstemp(dir=path.parent)  # its mode is 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(keys, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path

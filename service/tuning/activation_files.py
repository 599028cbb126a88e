"""Activations of heads' examples on disk: what their tails are tuned on, bounded in bytes.

    <folder>/<backbone's fingerprint>/<head's uid>-cut/000000.safetensors

A file holds some rows by name, an example's digest or that of a view, and never changes; rows that
are missing come into another one. It is written aside, synced and renamed, so that it is there as a
whole or not at all. Whoever tunes maps the files into memory.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from service.concurrency.file_threads import FileThreads
from service.errors import PreconditionFailed, StoreFull
from service.logs import get_logger
from service.store.view_digests import PREFIX
from service.tuning.durable_files import PART, write

SUFFIX = ".safetensors"
ROW_OVERHEAD_BYTES = 200
"""Size of a row beside its numbers: name, shape and offsets in the header."""

_DTYPES = {"F16": np.float16, "F32": np.float32, "U8": np.uint8, "I64": np.int64}

log = get_logger(__name__)

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Key:
    """A head's rows: activations at the cut or, if prepared, what enters the network."""

    fingerprint: str
    uid: str
    prepared: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the rows, below the folder of all."""
        return Path(self.fingerprint) / f"{self.uid}-{'input' if self.prepared else 'cut'}"


class ActivationFiles:
    """The files of one server. Its methods wait for the disk; any thread may call them.

    Args:
        folder: is made with the first rows; what a crash left half-written in it is deleted.
        max_bytes: size of all files. Those of heads that were tuned longest ago go first.

    Attributes:
        threads: threads to call the methods in.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self.threads = FileThreads("activations")
        self._lock = threading.Lock()
        for part in folder.rglob(f"*{PART}"):
            try:
                part.unlink()
            except OSError as error:
                log.warning("what a crash left stays", path=str(part), reason=error.strerror)

    def folder(self, key: Key) -> Path:
        """Returns the folder with the rows of a key."""
        return self._folder / key.folder

    def known(self, key: Key) -> set[str]:
        """Returns the names of the stored rows; they count as used."""
        folder = self.folder(key)
        with self._lock:
            if folder.is_dir():
                _touch(folder)
            return {name for _, names in _whole(folder) for name in names}

    def make_room(self, key: Key, nbytes: int) -> None:
        """Evicts rows of other heads, as far as is needed for more rows of this key.

        Raises:
            PreconditionFailed: the key's rows alone would be too many with them.
        """
        with self._lock:
            sizes = {path: _size(path) for path in self._keys()}
            own = sizes.pop(self.folder(key), 0) + nbytes
            if own > self._max_bytes:
                raise PreconditionFailed.at(
                    "activation_cache_bytes",
                    "at most {limit}, the head's examples and views take {value}",
                    self._max_bytes,
                    own,
                )
            total = own + sum(sizes.values())
            for path in sorted(sizes, key=lambda path: path.stat().st_mtime_ns):
                if total <= self._max_bytes:
                    break
                shutil.rmtree(path)
                total -= sizes[path]

    def add(self, key: Key, rows: Rows) -> None:
        """Stores rows."""
        folder, data = self.folder(key), safetensors.numpy.save(dict(rows))
        with self._lock:
            folder.mkdir(parents=True, exist_ok=True)
            last = max((int(path.stem) for path in _files(folder)), default=-1)
            write(folder / f"{last + 1:06}{SUFFIX}", data)
            _touch(folder)

    def forget(self, uid: str, digests: Collection[str]) -> None:
        """Deletes a head's rows of these inputs and of their views."""
        prefixes = {digest[:PREFIX] for digest in digests}
        self._filter(uid, lambda name: name[:PREFIX] not in prefixes)

    def retain(self, uid: str, digests: Collection[str]) -> None:
        """Deletes a head's rows of all inputs but these."""
        prefixes = {digest[:PREFIX] for digest in digests}
        self._filter(uid, lambda name: name[:PREFIX] in prefixes)

    def heads(self) -> set[str]:
        """Returns the uids of the heads that have rows."""
        with self._lock:
            return {path.name.rpartition("-")[0] for path in self._keys()}

    def drop(self, uid: str) -> None:
        """Deletes all rows of a head."""
        with self._lock:
            for path in self._keys(uid):
                shutil.rmtree(path)

    def _filter(self, uid: str, wanted: Callable[[str], bool]) -> None:
        with self._lock:
            for path, names in [found for folder in self._keys(uid) for found in _whole(folder)]:
                kept = {name for name in names if wanted(name)}
                if kept and len(kept) < len(names):
                    _keep(path, kept)
                elif not kept:
                    path.unlink()

    def _keys(self, uid: str = "*") -> Iterator[Path]:
        return self._folder.glob(f"*/{uid}-*")


def _keep(path: Path, kept: Collection[str]) -> None:
    """Writes a file anew with these rows alone."""
    rows = {name: row for name, row in map_rows(path).items() if name in kept}
    try:
        write(path, safetensors.numpy.save(rows))
    except StoreFull:
        path.unlink()  # what is to go goes on a full disk, too; the rest is computed again


def _touch(folder: Path) -> None:
    """Sets the folder's time to now, by which the least recently used is found.

    The kernel's own clock for files stands still for some milliseconds at a time.
    """
    now = time.time_ns()
    os.utime(folder, ns=(now, now))


def read_layout(path: Path) -> dict[str, dict[str, Any]]:
    """Returns dtype, shape and offsets of each row of a file, by its name.

    Raises:
        ValueError: the file is damaged.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if 8 + size > total:
            raise ValueError(f"{path.name} is cut off")
        layout: dict[str, dict[str, Any]] = json.loads(file.read(size))
    try:
        layout.pop("__metadata__", None)
        end = max(form["data_offsets"][1] for form in layout.values())
        if 8 + size + end > total:
            raise ValueError(f"{path.name} is cut off")
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{path.name} has a header of another kind") from error
    return layout


def map_rows(path: Path) -> dict[str, NDArray[Any]]:
    """Maps the rows of a file into memory, by name: they are read when they are used."""
    data = np.memmap(path, np.uint8, mode="r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    rows = {}
    for name, form in read_layout(path).items():
        first, last = form["data_offsets"]
        row = data[start + first : start + last]
        rows[name] = row.view(_DTYPES[form["dtype"]]).reshape(form["shape"])
    return rows


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def _whole(folder: Path) -> Iterator[tuple[Path, Collection[str]]]:
    """Yields files and the names of their rows; deletes damaged ones, to be computed again."""
    for path in _files(folder):
        try:
            names = read_layout(path).keys()
        except ValueError as error:
            log.warning("damaged activations are deleted", path=str(path), error=str(error))
            path.unlink()
        else:
            yield path, names


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())

"""Metrics of all processes that share a store, as one page.

Each sample says whose it is with a label, `worker`: a process that is started anew counts from
zero, as Prometheus expects of each series, and not of a sum.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

ANSWER_SECONDS = 2.0
"""A process that does not answer in so long is left out."""

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{?)")


async def serve_page(folder: Path, name: str, registry: CollectorRegistry) -> asyncio.Server:
    """Gives the other processes this one's metrics, until it is closed."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(generate_latest(registry))
            await writer.drain()
        writer.close()

    path = _path(folder, name)
    path.unlink(missing_ok=True)  # of one that was killed
    return await asyncio.start_unix_server(answer, path)


async def page_of_all(folder: Path, own: str, names: Sequence[str]) -> str:
    """Returns the metrics of all processes.

    Args:
        own: metrics of this one.
        names: of all, this one first.
    """
    others = await asyncio.gather(*(_page(folder, name) for name in names[1:]))
    return merged(dict(zip(names, (own, *others), strict=True)))


async def answers(folder: Path, name: str, seconds: float) -> bool:
    """Returns whether a process gives its metrics within so many seconds: its event loop turns."""
    return bool(await _page(folder, name, seconds))


def merged(pages: dict[str, str]) -> str:
    """Returns one page of pages by the names of their processes, each of which is a label."""
    families: dict[str, list[str]] = {}
    for name, page in pages.items():
        samples: list[str] = []
        for line in page.splitlines():
            if line.startswith("# HELP "):
                samples = families.setdefault(line.split(" ", 3)[2], [line])
            elif line.startswith("#"):
                if line not in samples:
                    samples.append(line)
            elif line:
                samples.append(_labelled(line, name))
    return "\n".join(line for lines in families.values() for line in lines) + "\n"


def _labelled(sample: str, name: str) -> str:
    found = _SAMPLE.match(sample)
    assert found is not None
    rest = sample[found.end() :]
    label = f'{{worker="{name}"'
    return f"{found[1]}{label},{rest}" if found[2] else f"{found[1]}{label}}}{rest}"


async def _page(folder: Path, name: str, seconds: float = ANSWER_SECONDS) -> str:
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(_path(folder, name))
            try:
                return (await reader.read(-1)).decode()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.metrics"

"""What a call costs at extractors that run, for example with Ray's proxy before one and without.

    python -m benchmarks.extractors ADDRESS [ADDRESS …] --key-file FILE

Every call embeds texts that no cache knows. The extractors take turns, round by round, so that what
else the machine does weighs on all alike; the table has medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from service.extraction.remote import RemoteExtractor
from service.requests.inputs import Kind, RawInput
from trunkline.digest import text_digest

BACKBONE = "minilm/l6-v2"
CALLS = 40
IN_FLIGHT = 16
MANY = 128
START_SECONDS = 60

Figures = dict[str, list[float]]


class Contender:
    """An extractor, and what was measured of it: a list of figures for each kind of load."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.figures: Figures = {}
        self._remote = RemoteExtractor(
            address, max_message_bytes=1 << 26, timeout_seconds=60, key=key
        )
        self._texts = (f"text number {number} of this run" for number in itertools.count())

    async def start(self) -> None:
        """Waits until it is ready."""
        ready = asyncio.Event()
        await self._remote.start(lambda is_ready: ready.set() if is_ready else None)
        async with asyncio.timeout(START_SECONDS):
            await ready.wait()

    async def close(self) -> None:
        """Closes the connection."""
        await self._remote.close()

    async def measure(self) -> None:
        """Adds one figure of each kind."""
        alone = [await self._timed(1) for _ in range(CALLS)]
        self._note("1 text, one call after another, ms", 1e3 * statistics.median(alone))
        self._note(f"{MANY} texts, one call, ms", 1e3 * await self._timed(MANY))
        started = time.perf_counter()
        await asyncio.gather(*(self._calls(CALLS) for _ in range(IN_FLIGHT)))
        rate = IN_FLIGHT * CALLS / (time.perf_counter() - started)
        self._note(f"1 text, {IN_FLIGHT} in flight, calls/s", rate)

    async def _calls(self, count: int) -> None:
        for _ in range(count):
            await self._timed(1)

    async def _timed(self, rows: int) -> float:
        texts = list(itertools.islice(self._texts, rows))
        inputs = [RawInput(Kind.TEXT, text_digest(text), text) for text in texts]
        started = time.perf_counter()
        await self._remote.embed("bench", self._remote.backbone(BACKBONE), inputs)
        return time.perf_counter() - started

    def _note(self, kind: str, figure: float) -> None:
        self.figures.setdefault(kind, []).append(figure)


async def compare(addresses: Sequence[str], key: str, rounds: int) -> list[Contender]:
    """Measures all in turn, and gives them back with their figures."""
    contenders = [Contender(address, key) for address in addresses]
    try:
        for contender in contenders:
            await contender.start()
            await contender.measure()
            contender.figures.clear()  # of calls that warm it up
        for contender in contenders * rounds:
            await contender.measure()
    finally:
        for contender in contenders:
            await contender.close()
    return contenders


def _table(contenders: Sequence[Contender], rounds: int) -> Table:
    table = Table("", *(contender.address for contender in contenders))
    table.title = f"medians of {rounds} rounds (quartiles)"
    for kind in contenders[0].figures:
        cells = []
        for contender in contenders:
            low, median, high = statistics.quantiles(contender.figures[kind], n=4)
            cells.append(f"{median:.1f} ({low:.1f} .. {high:.1f})")
        table.add_row(kind, *cells)
    return table


def main() -> None:
    """Reads the arguments, measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("addresses", nargs="+", metavar="ADDRESS")
    parser.add_argument("--key-file", type=Path, help="of the key that the extractors ask for")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    key = given.key_file.read_text(encoding="ascii").strip() if given.key_file else ""
    contenders = asyncio.run(compare(given.addresses, key, given.rounds))
    Console().print(_table(contenders, given.rounds))


if __name__ == "__main__":
    main()

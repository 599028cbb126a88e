"""``make drill``: all drills, or those that are named, one after the other.

Exits with 1 if anything that is promised did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

import drills
from drills.common.drill import VERDICTS, Drill, DrillModule, Outcome
from drills.common.servers import server
from service.process_limits import raise_file_limit

THREADS = 256
ALL_SECONDS = 1020.0
"""That the short forms of all drills may take together, on two cores."""
SHOWN = 20
"""Violations of one drill that are printed; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Options:
    """How drills are run.

    Attributes:
        seed: of all random numbers.
        slack: multiplies the bounds.
        keep: where the drills' folders are made, and stay; None to remove them.
    """

    seed: int
    long: bool
    slack: float
    keep: Path | None


def names() -> list[str]:
    """Of all drills."""
    modules = (module.name for module in pkgutil.iter_modules(drills.__path__))
    return sorted(name for name in modules if name not in ("__main__", "common"))


def load(name: str) -> DrillModule:
    """A drill's module."""
    return cast(DrillModule, importlib.import_module(f"drills.{name}"))


async def attempt(module: DrillModule, name: str, options: Options) -> Outcome:
    """Runs a drill within its bound; what it raises, and a bound that it breaks, are violations."""
    bound = options.slack * (module.LONG_SECONDS if options.long else module.SECONDS)
    folder = Path(tempfile.mkdtemp(prefix=f"drill-{name}-", dir=options.keep))
    # Each drill has numbers of its own, so that one alone repeats what it did among all.
    chance = random.Random(f"{options.seed} {name}")
    try:
        with tempfile.TemporaryDirectory(prefix="drill-") as sockets:
            drill = Drill(folder, Path(sockets), chance, options.long, options.slack)
            async with asyncio.timeout(bound) as timeout:
                return await module.run(drill)
    except Exception as error:
        late = isinstance(error, TimeoutError) and timeout.expired()
        words = f"took more than {bound:g} s" if late else f"raised {error!r}"
        if not late:
            traceback.print_exc()
        return Outcome("did not end", violations=(words,))
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def judge_total(chosen: list[str], took: float, options: Options) -> list[str]:
    """What is wrong with the seconds that the chosen drills took together."""
    bound = ALL_SECONDS * options.slack
    if options.long or chosen != names() or took <= bound:
        return []
    return [f"all drills took {took:.0f} s together, more than {bound:g} s"]


def summary(verdicts: Sequence[str], took: float) -> str:
    """How many drills held, were violated and were skipped, in a line."""
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    return f"of {len(verdicts)}: {counts}; {took:.0f} s"


async def export_backbones() -> None:
    """Starts a server once: the first on a machine exports backbones, which takes a while."""
    with tempfile.TemporaryDirectory() as folder:
        async with server(Path(folder)):
            pass


async def run(chosen: list[str], options: Options, console: Console) -> bool:
    """Runs drills and prints what they saw; gives whether everything held."""
    # Clients block in threads of their own.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    await export_backbones()
    table = Table("drill", "times", "violations", "worst s", "took s", "verdict")
    verdicts: list[str] = []
    started = time.monotonic()
    for name in chosen:
        module = load(name)
        console.print(f"{name}: {module.PROMISE}", markup=False)
        begun = time.monotonic()
        outcome = await attempt(module, name, options)
        took = time.monotonic() - begun
        verdicts.append(outcome.verdict)
        for violation in outcome.violations[:SHOWN]:
            console.print(f"  violated: {violation}", markup=False)
        seen = f"skipped: {outcome.skipped}" if outcome.skipped else outcome.done
        console.print(f"  {seen}", markup=False, highlight=False)
        table.add_row(
            name,
            str(outcome.times),
            str(len(outcome.violations)),
            f"{outcome.worst_seconds:.1f}" if outcome.worst_seconds else "",
            f"{took:.0f}",
            outcome.verdict,
        )
    console.print(table)
    total = time.monotonic() - started
    wrong = judge_total(chosen, total, options)
    for violation in wrong:
        console.print(f"violated: {violation}", markup=False)
    console.print(summary(verdicts, total), highlight=False)
    return not wrong and "violated" not in verdicts


def main() -> None:
    """Reads what is asked for, and runs it."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names())}; all without")
    parser.add_argument("--long", action="store_true", help="the long forms, for hours")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--slack", type=float, default=1.0, help="multiplies the bounds, where the machine is busy"
    )
    parser.add_argument("--keep", type=Path, help="keeps stores and logs in this folder")
    args = parser.parse_args()
    if unknown := sorted(set(args.name) - set(names())):
        parser.error(f"no such drill: {', '.join(unknown)}")
    console = Console()
    console.print(f"seed {args.seed}")
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
    raise_file_limit()  # clients that hold sockets are in this process
    options = Options(args.seed, args.long, args.slack, args.keep)
    held = asyncio.run(run(args.name or names(), options, console))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()

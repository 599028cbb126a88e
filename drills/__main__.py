"""``make drill``: all drills, or those that are named, one after the other.

Exits with 1 if anything that is promised did not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import pkgutil
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.table import Table

import drills
from drills.common.drill import Drill, DrillModule, Outcome

SHOWN = 20
"""Violations of one drill that are printed; the rest are counted."""


def names() -> list[str]:
    """Of all drills."""
    modules = (module.name for module in pkgutil.iter_modules(drills.__path__))
    return sorted(name for name in modules if name not in ("__main__", "common"))


def load(name: str) -> DrillModule:
    """A drill's module."""
    return cast(DrillModule, importlib.import_module(f"drills.{name}"))


async def attempt(module: DrillModule, name: str, seed: int, long: bool) -> Outcome:
    """Runs a drill within its bound; what it raises, and a bound that it breaks, are violations."""
    bound = module.LONG_SECONDS if long else module.SECONDS
    with tempfile.TemporaryDirectory(prefix=f"drill-{name}-") as folder:
        # Each drill has numbers of its own, so that one alone repeats what it did among all.
        drill = Drill(Path(folder), random.Random(f"{seed} {name}"), long)
        try:
            async with asyncio.timeout(bound) as timeout:
                return await module.run(drill)
        except Exception as error:
            late = isinstance(error, TimeoutError) and timeout.expired()
            words = f"took more than {bound:g} s" if late else f"raised {error!r}"
            if not late:
                traceback.print_exc()
            return Outcome("did not end", violations=(words,))


async def run(chosen: list[str], seed: int, long: bool, console: Console) -> bool:
    """Runs drills and prints what they saw; gives whether everything held."""
    table = Table("drill", "what was done", "times", "violations", "worst s", "took s", "verdict")
    held = True
    for name in chosen:
        module = load(name)
        console.print(f"{name}: {module.PROMISE}", markup=False)
        begun = time.monotonic()
        outcome = await attempt(module, name, seed, long)
        took = time.monotonic() - begun
        held = held and not outcome.violations
        for violation in outcome.violations[:SHOWN]:
            console.print(f"  violated: {violation}", markup=False)
        table.add_row(
            name,
            outcome.skipped or outcome.done,
            str(outcome.times),
            str(len(outcome.violations)),
            f"{outcome.worst_seconds:.1f}" if outcome.worst_seconds else "",
            f"{took:.0f}",
            outcome.verdict,
        )
    console.print(table)
    return held


def main() -> None:
    """Reads what is asked for, and runs it."""
    parser = argparse.ArgumentParser(prog="python -m drills", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names())}; all without")
    parser.add_argument("--long", action="store_true", help="the long forms, for hours")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    if unknown := sorted(set(args.name) - set(names())):
        parser.error(f"no such drill: {', '.join(unknown)}")
    console = Console()
    console.print(f"seed {args.seed}")
    held = asyncio.run(run(args.name or names(), args.seed, args.long, console))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()

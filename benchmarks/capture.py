"""``python -m benchmarks.capture``: what capturing adds to a cached prediction, in processor time.

One server has three heads of the same examples. One keeps nothing of its traffic, one has all rules
but those that take the row, one takes all until its hour is full. They take turns, round by round,
so that what else the machine does weighs on all alike. A last line has the choice alone, without a
server: what is added where no rule takes the row.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from adapters import Head
from adapters.conformal import Conformal
from benchmarks.access import BACKBONE, EXAMPLES, Contender
from benchmarks.processes import server
from service.capture.rules import CaptureRules
from service.capture.sampling import Sampler, ScoredRows
from service.config import default_cache_dir
from trunkline import Client
from trunkline.values.capture import Capture

HEADS = {
    "nothing is kept": None,
    "all rules, none takes it": Capture(
        random_share=1e-6,
        uncertain_share=1.0,
        uncertain_margin=1e-6,
        conformal_share=1.0,
        conformal_level=0.5,
    ),
    "taken, the hour is full": Capture(random_share=1.0, per_hour=1),
}
CHOICES = 20_000


def measure(rounds: int, seconds: float, console: Console) -> None:
    """Runs all rounds and prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--backbone", BACKBONE)
        with server(Path(folder), default_cache_dir(), *flags) as running:
            contenders = {}
            with Client(running.grpc) as client:
                for number, (words, capture) in enumerate(HEADS.items()):
                    head = f"acme/mood-{number}"
                    client.create_head(head, BACKBONE, capture=capture)
                    client.upload(head, EXAMPLES)
                    client.train(head)
                    contenders[words] = Contender(running, "", head)
            taken = [
                [contender.seconds_per_request(seconds) for contender in contenders.values()]
                for _ in range(rounds)
            ]
    console.print(_table(taken, seconds))
    console.print(f"the choice alone, in this process: {_choice_alone() * 1e6:.2f} us a row")


def _choice_alone() -> float:
    """Returns the processor time of a choice among all rules for one row of ten classes."""
    capture = HEADS["all rules, none takes it"]
    assert capture is not None
    rules = CaptureRules(**vars(capture))
    labels = tuple(map(str, range(10)))
    head = Head(
        family="ridge",
        labels=labels,
        weight=np.zeros((10, 4), np.float32),
        bias=np.zeros(10, np.float32),
        fingerprint="f",
    )
    head = replace(head, conformal=Conformal(np.array([0.5], np.float32), 1.0))
    shares = np.array([[0.91] + [0.01] * 9], np.float32)
    rows = ScoredRows(labels, np.argsort(-shares, axis=1), shares, None)
    sampler = Sampler(0)
    before = time.process_time()
    for _ in range(CHOICES):
        list(sampler.choose(rules, head, rows))
    return (time.process_time() - before) / CHOICES


def _table(taken: list[list[float]], seconds: float) -> Table:
    table = Table(title=f"{len(taken)} rounds of {seconds:g} s")
    for column in ("processor time of a cached prediction", "median", "quartiles"):
        table.add_column(column)
    first = [row[0] for row in taken]
    for number, words in enumerate(HEADS):
        values = [row[number] for row in taken]
        added = [value - plain for value, plain in zip(values, first, strict=True)]
        for name, seconds_each in ((words, values), (f"{words}: added in a round", added)):
            if number or seconds_each is values:
                low, median, high = (
                    1e6 * value for value in statistics.quantiles(seconds_each, n=4)
                )
                table.add_row(name, f"{median:.1f} us", f"{low:.1f} .. {high:.1f} us")
    return table


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run")
    args = parser.parse_args()
    measure(args.rounds, args.seconds, Console())


if __name__ == "__main__":
    main()

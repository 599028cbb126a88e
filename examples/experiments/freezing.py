"""How much of the backbone to tune: freezing strategies compared on photos of textiles.

    python examples/experiments/freezing.py --server 127.0.0.1:50051 [--full]

Every strategy is trained on the same examples and tested on the same held-out ones. The server
itself uses a tail only where it was better on folds of the training examples; the table counts how
often it was. `--full` adds tuning of the whole backbone, which is slow.
"""

from __future__ import annotations

import numpy as np
from shared import Trial, deal, options, percent, points, table, textile, try_head

from trunkline import Client, FineTune, HeadSpec

BACKBONE = "efficientnet/lite0"
TRAINING, HELD_OUT = 300, 500
NONE = "none"
STRATEGIES = ("last_block", "gradual", "tail")
EPOCHS, FLIPS = 12, 3
COLUMNS = ("strategy", "held-out accuracy", "gain, points", "tail used", "own weights, MB")


def main() -> None:
    """Measure the strategies on the same splits and print the table."""
    parser = options(__doc__, seeds=5)
    parser.add_argument("--full", action="store_true", help="tune the whole backbone as well")
    arguments = parser.parse_args()
    strategies = [*STRATEGIES, *(["full"] if arguments.full else [])]
    training, held_out, epochs, flips = TRAINING, HELD_OUT, EPOCHS, FLIPS
    if arguments.quick:
        strategies, training, held_out, epochs, flips = ["last_block"], 30, 30, 1, 0
    examples = textile()
    splits = [deal(examples, training, held_out, seed) for seed in range(arguments.seeds)]
    with Client(arguments.server) as client:
        trials = {NONE: [try_head(client, BACKBONE, *split) for split in splits]}
        for strategy in strategies:
            tune = FineTune(strategy, max_epochs=epochs, views=flips, flips=flips > 0)
            spec = HeadSpec(fine_tune=tune)
            trials[strategy] = [try_head(client, BACKBONE, *split, spec) for split in splits]
    print(table(COLUMNS, [row(name, trials) for name in trials]))


def row(strategy: str, trials: dict[str, list[Trial]]) -> tuple[str, ...]:
    """A row of the table; gains are against the head without a tail, on the same splits."""
    mine, plain = ([t.accuracy for t in trials[name]] for name in (strategy, NONE))
    reports = [trial.report.fine_tuning for trial in trials[strategy]]
    tails = [report for report in reports if report is not None]
    if not tails:
        return f"`{strategy}`", percent(mine), "", "", ""
    used = f"{sum(tail.used for tail in tails)} of {len(tails)}"
    megabytes = np.mean([tail.bytes_with for tail in tails]) / 1e6
    return f"`{strategy}`", percent(mine), points(mine, plain), used, f"{megabytes:.1f}"


if __name__ == "__main__":
    main()

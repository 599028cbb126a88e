"""Direct training against feature extraction on handwritten digits, with many examples and few.

    python examples/experiments/direct_or_transfer.py --server 127.0.0.1:50051

Direct: logistic regression on the 64 pixels. Feature extraction: a head on a backbone that has
seen a million photos, but no digits of 8 x 8 pixels. Both are tested on the same examples.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image
from shared import Labelled, deal, digits, options, percent, points, table, try_head
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from trunkline import Client

BACKBONE = "efficientnet/lite0"
HELD_OUT = 500
STRENGTHS = {"C": [0.01, 0.1, 1, 10, 100]}


def main() -> None:
    """Measure both on the same splits and print the table."""
    arguments = options(__doc__, seeds=10).parse_args()
    examples = digits()
    held_out = 50 if arguments.quick else HELD_OUT
    sizes = (60,) if arguments.quick else (200, len(examples) - held_out)
    rows = []
    with Client(arguments.server) as client:
        for size in sizes:
            splits = [deal(examples, size, held_out, seed) for seed in range(arguments.seeds)]
            direct = [direct_accuracy(*split) for split in splits]
            transfer = [try_head(client, BACKBONE, *split).accuracy for split in splits]
            advised = Counter(
                client.advise("experiments", training, [BACKBONE]).recommended
                for training, _ in splits
            )
            words = ", ".join(f"`{name}` {count} times" for name, count in advised.most_common())
            gain = points(transfer, direct)
            rows.append((f"{size:,}", percent(direct), percent(transfer), gain, words))
    columns = ("examples", "direct", "feature extraction", "gain, points", "`advise` recommends")
    print(table(columns, rows))


def direct_accuracy(training: Sequence[Labelled], held_out: Sequence[Labelled]) -> float:
    """Accuracy (0 to 1) of logistic regression on pixels; its strength is chosen on folds."""
    model = GridSearchCV(LogisticRegression(max_iter=1000), STRENGTHS, cv=3)
    model.fit(*_pixels(training))
    return float(model.score(*_pixels(held_out)))


def _pixels(examples: Sequence[Labelled]) -> tuple[np.ndarray, list[str]]:
    pictures = [Image.open(io.BytesIO(data)) for data, _ in examples if isinstance(data, bytes)]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return pixels.reshape(len(pixels), -1) / 255, [label for _, label in examples]


if __name__ == "__main__":
    main()

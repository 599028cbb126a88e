"""Start with three examples of each class and let feedback do the rest.

    python examples/live_feedback.py reviews.csv --server 127.0.0.1:50051

The table has the columns ``text`` and ``label``. Each text after the first few is predicted, then
its label is sent, as users of a service would. There is one training, at the start.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from collections import defaultdict
from pathlib import Path

from trunkline import Client, NotFound, Prediction

PER_CLASS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description="Let a head of few examples learn from feedback.")
    parser.add_argument("table", type=Path)
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--head", default="acme/live")
    options = parser.parse_args()

    by_label: dict[str, list[str]] = defaultdict(list)
    with options.table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_label[row["label"]].append(row["text"])
    first = [(text, label) for label, texts in by_label.items() for text in texts[:PER_CLASS]]
    stream = [(text, label) for label, texts in by_label.items() for text in texts[PER_CLASS:]]

    with Client(options.server) as client:
        with contextlib.suppress(NotFound):
            client.delete_head(options.head)  # of an earlier run
        client.create_head(options.head, "minilm/l6-v2", policy="immediate")
        client.upload(options.head, first)
        client.train(options.head)
        right = 0
        for text, label in stream:
            (answer,) = client.predict(options.head, [text])
            right += isinstance(answer, Prediction) and answer.label == label
            client.feedback(options.head, [(text, label)])
        live = client.get_head(options.head).live
        assert live is not None
        print(f"{len(first)} examples, then {len(stream)} corrections: {right} were right before")
        print(f"the live copy stands on {live.example_count} examples")


if __name__ == "__main__":
    main()

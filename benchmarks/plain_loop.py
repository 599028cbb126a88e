"""What a server is measured against: a loop that decodes photos and runs the backbone on them."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

from models import Backbone, load_backbone

BATCHES = (1, 2, 4, 8, 16, 32)
TRIAL_SECONDS = 1.0


def rate(backbone: Backbone, photos: list[bytes], batch: int, seconds: float) -> float:
    """Photos per second at this batch size."""
    endless = itertools.cycle(photos)
    started = time.perf_counter()
    count = 0
    while time.perf_counter() - started < seconds:
        backbone.forward([backbone.preprocess(next(endless)) for _ in range(batch)])
        count += batch
    return count / (time.perf_counter() - started)


def main() -> None:
    """Prints the rate at the given, or the best, number of threads and batch size as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--cache-dir", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, help="try all up to the cores when left out")
    parser.add_argument("--batch", type=int, help="try several when left out")
    args = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(args.images.glob("*.jpg"))]
    best = (0.0, 0, 0)
    for threads in (args.threads,) if args.threads else (1, 2, 0):
        backbone = load_backbone(
            "efficientnet/lite0",
            engine="onnxruntime",
            device="cpu",
            cache_dir=args.cache_dir,
            threads=threads,
        )
        backbone.warm_up()
        for batch in (args.batch,) if args.batch else BATCHES:
            seconds = args.seconds if args.batch else TRIAL_SECONDS
            best = max(best, (rate(backbone, photos, batch, seconds), threads, batch))
        backbone.close()
    print(json.dumps({"rate": best[0], "threads": best[1], "batch": best[2]}))


if __name__ == "__main__":
    main()

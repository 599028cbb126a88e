"""What tails are measured against: whole models in one process.

    python -m benchmarks.tails.whole_models FOLDER

runs every ONNX file of the folder once, prints how many there are, and keeps them until standard
input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> None:
    """Load the models, and keep them until standard input ends."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as each pass of the server has
    picture = np.zeros((1, 224, 224, 3), dtype=np.uint8)
    sessions = []
    for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        session.run(None, {"pixels": picture})
        sessions.append(session)
    print(len(sessions), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

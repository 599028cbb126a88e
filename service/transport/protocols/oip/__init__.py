"""The Open Inference Protocol, version 2: what Triton's and KServe's clients speak."""

"""The server: extraction, caching, storing, training and predicting, over gRPC and REST."""

import os

# Before numpy is imported: the heads' products are small, and OpenBLAS's threads spin while they
# wait, on cores that the backbone needs. Fits have a process, and threads, of their own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

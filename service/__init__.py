"""The server: extraction, caching, storing, training and predicting, over gRPC and REST."""

import os
import sys

# Before numpy is imported: the heads' products are small, and OpenBLAS's threads spin while they
# wait, on cores that the backbone needs. Fits have a process, and threads, of their own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# As `trunkline` does, which `bentoml serve` imports after grpcio: strangers' handshakes that fail
# write nothing.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

# A thread that has a batch ready should not wait 5 ms for the interpreter lock.
sys.setswitchinterval(0.0005)

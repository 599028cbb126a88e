"""Engines run a network: arrays in, embeddings out.

| engine      | device | precision | choose it for                                      |
| ----------- | ------ | --------- | -------------------------------------------------- |
| onnxruntime | cpu    | float32   | every machine without a GPU; starts without torch  |
| onnxruntime | cuda   | float32   | a GPU, and the same embeddings as on the CPU       |
| torch       | cpu    | float32   | comparison                                         |
| torch       | cuda   | bfloat16  | throughput on a GPU                                |

All float32 combinations agree within 1e-4 and share a fingerprint; bfloat16 has its own.
"""

from models.engines.base import Choice, Engine, Precision, choose

__all__ = ["Choice", "Engine", "Precision", "choose"]

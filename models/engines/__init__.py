"""Engines run a network: arrays in, embeddings out.

| engine      | device | precision | choose it for                                      |
| ----------- | ------ | --------- | -------------------------------------------------- |
| onnxruntime | cpu    | float32   | every machine without a GPU; starts without torch  |
| onnxruntime | cuda   | float32   | a GPU, and the same embeddings as on the CPU       |
| torch       | cpu    | float32   | comparison                                         |
| torch       | cuda   | bfloat16  | throughput on a GPU                                |

All float32 combinations agree within 1e-4 and share a fingerprint; bfloat16 has its own.

What an engine makes of a backbone with a cut:

| part            | onnxruntime                       | torch                                |
| --------------- | --------------------------------- | ------------------------------------ |
| the whole       | a session                         | the modules; on CUDA recorded passes |
| prefix, finish  | a session each, at the first use  | the same modules; recorded likewise  |
| a tenant's tail | a session with one thread: all of | modules that share with the backbone |
|                 | its parameters, in a form of its  | what the tenant did not change       |
|                 | own                               |                                      |
"""

from models.engines.base import Choice, Engine, Network, Precision, choose

__all__ = ["Choice", "Engine", "Network", "Precision", "choose"]

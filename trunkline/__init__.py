"""Trunkline: one frozen backbone, a head for every tenant. This is its client.

Names are imported when they are first used, from where `__init__.pyi` says.
"""

import os

import lazy_loader

# Before grpcio is imported: its core would write a line to standard error for each handshake that
# fails, be it a client's own, which is told it as an error, or a stranger's with a server.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Trunkline: one frozen backbone, a head for every tenant. This is its client.

Names are imported when they are first used, from where `__init__.pyi` says.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

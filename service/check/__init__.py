"""``trunkline check``: reads a whole store, changes nothing, and says what is wrong with it.

Each kind of fault has a function in a file of its own; `checks.CHECKS` lists them.
"""

from service.check.command import check_main

__all__ = ["check_main"]

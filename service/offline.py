"""What keeps the libraries, too, from the network when nothing may be downloaded."""

from __future__ import annotations

import os

SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Read when the libraries are imported, which is when the first backbone needs them."""


def forbid_downloads() -> None:
    """Forbids them to this process and to those that it starts from now on."""
    os.environ.update(dict.fromkeys(SWITCHES, "1"))

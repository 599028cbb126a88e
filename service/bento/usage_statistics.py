"""Keeps BentoML from sending usage statistics.

It asks ``BENTOML_DO_NOT_TRACK``, and only once: under ``bentoml serve`` that was before the service
is imported, so that the answer it remembers has to go, too.
"""

from __future__ import annotations

import os

from bentoml._internal.utils.analytics import usage_stats


def switch_off() -> None:
    """Has this process and those that it starts send none, whatever the environment says."""
    os.environ[usage_stats.BENTOML_DO_NOT_TRACK] = "True"
    usage_stats.do_not_track.cache_clear()

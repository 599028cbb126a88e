"""One process of ``trunkline serve --workers N``: it serves, or extracts for those that do."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import structlog

from service.cluster.children import end_with_parent
from service.cluster.member import EXTRACTION, Member
from service.config import ServerSettings, StandaloneExtractorSettings, load_settings
from service.extract import run_extractor
from service.listening import listen
from service.serve import run_server
from service.store.data_directory import UNUSED


def main(args: list[str]) -> int:
    """Runs a process until it is told to stop, or its supervisor is gone."""
    end_with_parent()
    if args[:1] == [EXTRACTION]:
        structlog.contextvars.bind_contextvars(process=EXTRACTION)
        for number in (signal.SIGTERM, signal.SIGINT):
            # Whoever serves may need it to the end, also where all are told to stop at once.
            signal.signal(number, signal.SIG_IGN)
        return run_extractor(load_settings(StandaloneExtractorSettings), Path(args[1]))
    member = Member.of_environment()
    assert member is not None
    structlog.contextvars.bind_contextvars(process=member.name)
    settings = load_settings(ServerSettings)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(settings.data_dir / UNUSED)
    return run_server(listen(settings.host, settings.rest_port, "REST", shared=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

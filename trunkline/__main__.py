"""The command `trunkline`, also as `python -m trunkline`."""

import os
import signal
import sys

_SERVERS = {"serve", "extractor", "demo"}


def main() -> None:
    """Runs the command line. While it is still being imported, Ctrl-C ends the process quietly."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _SERVERS.isdisjoint(sys.argv):
        # Else gRPC, which reads it when it is imported, prints lines of its own, such as of TLS,
        # beside the words for what failed. A server's log has them.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from trunkline.cli import main as run

    signal.signal(signal.SIGINT, handler)
    run(prog_name="trunkline")


if __name__ == "__main__":
    main()

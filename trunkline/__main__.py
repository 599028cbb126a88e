"""The command `trunkline`, also as `python -m trunkline`."""

import signal


def main() -> None:
    """Runs the command line. While it is still being imported, Ctrl-C ends the process quietly."""
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from trunkline.cli import main as run

    signal.signal(signal.SIGINT, handler)
    run(prog_name="trunkline")


if __name__ == "__main__":
    main()

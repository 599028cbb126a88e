"""The command line in a terminal of a given width."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

_BETWEEN = "\x1e"
_PROGRAM = """
import json, sys
from trunkline.cli import main
for arguments in json.loads(sys.argv[1]):
    main(arguments, standalone_mode=False)
    print(end="\\x1e", flush=True)
"""


def in_terminal(
    address: str, commands: Sequence[Sequence[str]], columns: int, **environment: str
) -> list[str]:
    """Runs commands one after the other; returns what each prints on standard output."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    environment = inherited | {"TERM": "xterm", "TRUNKLINE_SERVER": address} | environment
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    program = [sys.executable, "-c", _PROGRAM, json.dumps(commands)]
    with subprocess.Popen(
        program, stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(slave)
        shown = _read_to_the_end(master)
        assert process.stderr is not None
        words = process.stderr.read().decode()
    assert process.returncode == 0, words
    return shown.replace("\r\n", "\n").split(_BETWEEN)[:-1]


def _read_to_the_end(master: int) -> str:
    """Reads until nobody has the terminal open any more, which Linux reports as an error."""
    read = bytearray()
    try:
        while part := os.read(master, 1 << 16):
            read += part
    except OSError:
        pass
    finally:
        os.close(master)
    return read.decode()

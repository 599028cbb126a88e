"""Inputs shown in the system's viewer."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from trunkline.cli.output import Output
from trunkline.values.inputs import Image, Input, Pixels, Text

_SUFFIXES = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II": ".tif",
    b"MM": ".tif",
}


class Viewer:
    """Shows one input after the other; what is not a file becomes one, until the viewer is closed.

    Without a viewer one line says so, and nothing is shown.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._program = _program()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: TemporaryDirectory[str] | None = None
        if self._program is None:
            out.say("nothing can be opened: this machine has no display, or no program for it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._put_away()
        if self._folder:
            self._folder.cleanup()

    def show(self, item: Input | None) -> None:
        """Opens the input; what was shown before is put away, if it holds the program that opens.

        `item` is None for an input that is neither at hand nor kept by the head.
        """
        self._put_away()
        if self._program is None:
            return
        try:
            path = self._file(item)
            if path is None:
                self._out.say("(cannot be opened: the head does not keep its inputs)")
                return
            # In a group of its own, which Ctrl-C does not reach; its words are not for the person.
            self._process = subprocess.Popen(
                [self._program, str(path.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._give_up(str(error))

    def _file(self, item: Input | None) -> Path | None:
        match item:
            case Image(path=Path() as path):
                return path
            case Image(data=bytes() as data):
                found = (suffix for start, suffix in _SUFFIXES.items() if data.startswith(start))
                return self._written(item, data, next(found, ""))
            case Pixels(shape=(height, width, _), data=data):
                return self._written(item, b"P6 %d %d 255\n" % (width, height) + data, ".ppm")
            case Text(text=text):
                data = text if isinstance(text, bytes) else text.encode(errors="replace")
                return self._written(item, data, ".txt")
        return None

    def _written(self, item: Input, data: bytes, suffix: str) -> Path:
        """Writes the file into a folder that nobody else can read."""
        self._folder = self._folder or TemporaryDirectory(prefix="trunkline-label-")
        path = Path(self._folder.name) / f"{item.digest()[:16]}{suffix}"
        path.write_bytes(data)
        return path

    def _put_away(self) -> None:
        """Ends the program if it still runs: then it waits for a viewer that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        status = process.poll()
        if status is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        elif status:
            self._give_up(f"exit status {status}")

    def _give_up(self, reason: str) -> None:
        self._out.say(f"nothing can be opened any more: {self._program}: {reason}")
        self._program = None


def _program() -> str | None:
    """Returns the program that opens files as a double click does; None if there is none."""
    if sys.platform == "darwin":
        return shutil.which("open")
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return shutil.which("xdg-open") if display else None

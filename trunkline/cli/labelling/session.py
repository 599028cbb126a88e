"""A session of labelling: inputs one by one, forwards and one step back."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from trunkline.cli.labelling.answers import Answers
from trunkline.cli.labelling.items import Items
from trunkline.cli.labelling.questions import Command, Questions
from trunkline.cli.labelling.terminal import read_line
from trunkline.cli.labelling.viewer import Viewer
from trunkline.cli.output import Output
from trunkline.values.outcomes import RowFailure


@dataclass
class Session:
    """Asks about items, and takes the answers.

    With a `viewer` each input is opened in it. `interrupt` is what has ended the questions, if one
    has.
    """

    out: Output
    questions: Questions
    items: Items
    answers: Answers
    viewer: Viewer | None = None
    interrupt: KeyboardInterrupt | None = None

    def ask_all(self) -> None:
        """Asks about each, until somebody quits; what was answered by then is sent."""
        self.out.say(self.questions.help(self._labels()))
        try:
            with _interrupted_when_hung_up():
                self._ask()
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt
            self.out.say("")
        finally:
            self.answers.send_rest()

    @property
    def failures(self) -> list[tuple[str, RowFailure]]:
        """Those whose answer was not stored, each with what a person calls its input."""
        failed = self.answers.failures
        return [(self.answers.name(key), row) for key, row in failed.items()]

    def _ask(self) -> None:
        row = 0
        while self.items.reach(row) or self._wants_back():
            if not self.items.reach(row):
                row = self._back(row)
            item = self.items.items[row]
            self.out.say(f"\n[{row + 1}/{self.items.total}] {item.name}")
            if item.key not in self.answers.given and not self.items.hold(row):
                self.out.say("(another reviewer has it by now)")
                del self.items.items[row]
                continue
            for line in item.lines:
                self.out.say(line)
            if self.viewer:
                self.viewer.show(item.input)
            answer = self.questions.ask(item.guess, self._labels())
            if answer is Command.QUIT:
                return
            if answer is Command.BACK:
                row = self._back(row)
                continue
            self.answers.take(item.key, answer)
            row += 1

    def _back(self, row: int) -> int:
        """Takes the answer before this row back, and returns its row."""
        if row == 0:
            self.out.say("this is the first one")
            return row
        key = self.items.items[row - 1].key
        answer = self.answers.given.get(key)
        self.answers.take_back(key)
        said = answer.words if isinstance(answer, Command) else answer
        self.out.say(f"taken back: {said}" if said else "taken back")
        return row - 1

    def _wants_back(self) -> bool:
        """Asks whether the last answer, too, is meant; a pipe has no second thoughts."""
        if not sys.stdin.isatty():
            return False
        self.out.say("\nthat was the last one; Enter: done; b: back")
        answer = read_line(self.out)
        return answer is not None and answer.lower().removeprefix(":") == Command.BACK.value

    def _labels(self) -> Sequence[str]:
        """Returns the labels of the head, and those that were given, oldest first."""
        return list(dict.fromkeys([*self.questions.known, *self.answers.labelled.values()]))


@contextmanager
def _interrupted_when_hung_up() -> Iterator[None]:
    """Lets a terminal that is closed interrupt as Ctrl-C does, where it would kill."""
    if not hasattr(signal, "SIGHUP"):  # Windows
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)

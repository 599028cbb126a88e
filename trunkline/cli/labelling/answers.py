"""Answers: sent in small batches, so that few are ever at stake."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trunkline.cli.labelling.questions import Command
from trunkline.cli.output import Output
from trunkline.values.outcomes import RowFailure

Answer = str | Command
"""A label, or what was said in place of one."""

Send = Callable[[Mapping[str, Answer | None]], Mapping[str, RowFailure]]
"""Stores answers by key, None for one that is taken back; returns what failed."""

_BATCH = 10


@dataclass
class Answers:
    """The answers of one session, by the key of what they are about.

    `name` says what a person calls it, `unsent` are the commands that nobody has to be told of.
    `given` are the answers, `failures` says why others were not stored.
    """

    out: Output
    name: Callable[[str], str]
    store: Send
    unsent: tuple[Command, ...] = ()
    given: dict[str, Answer] = field(default_factory=dict)
    failures: dict[str, RowFailure] = field(default_factory=dict)
    _unsent: dict[str, Answer | None] = field(default_factory=dict)
    _stored: set[str] = field(default_factory=set)

    @property
    def labelled(self) -> dict[str, str]:
        """The labels that were given."""
        return {key: answer for key, answer in self.given.items() if isinstance(answer, str)}

    def count(self, command: Command) -> int:
        """Returns how often a command was the answer."""
        return sum(answer is command for answer in self.given.values())

    def take(self, key: str, answer: Answer) -> None:
        """Takes an answer; every tenth change sends what was not sent."""
        self.failures.pop(key, None)
        self.given[key] = answer
        if answer not in self.unsent:
            self._change(key, answer)

    def take_back(self, key: str) -> None:
        """Takes an answer back: if it is stored by now, that is undone."""
        self.given.pop(key, None)
        if key in self._stored:
            self._change(key, None)
        else:
            self._unsent.pop(key, None)

    def send(self) -> None:
        """Sends what was not sent yet."""
        if not self._unsent:
            return
        failed = self.store(self._unsent)
        for key, answer in self._unsent.items():
            if answer is None or key in failed:
                self._stored.discard(key)
            else:
                self._stored.add(key)
        self._unsent.clear()
        self.failures |= failed
        for key in failed:
            self.given.pop(key, None)
        self.out.failures([(self.name(key), row) for key, row in failed.items()])

    def send_rest(self) -> None:
        """Sends what was not sent yet, and names what could not be."""
        try:
            self.send()
        except BaseException:
            for key, answer in self._unsent.items():
                self.out.say(f"not sent: {self.name(key)}: {_words(answer)}")
            raise

    def _change(self, key: str, answer: Answer | None) -> None:
        self._unsent[key] = answer
        if len(self._unsent) >= _BATCH:
            self.send()


def _words(answer: Answer | None) -> str:
    if isinstance(answer, Command):
        return answer.words
    return answer or "without a label again"

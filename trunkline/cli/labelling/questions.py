"""The question about one input: what is offered, and what an answer means."""

import shutil
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from trunkline.cli.labelling.terminal import read_line
from trunkline.cli.output import Output
from trunkline.datasets import Notes
from trunkline.datasets.labels import nearest_label, read_label
from trunkline.errors import DatasetError

MOST_OFFERED = 9
"""Classes that are offered with each input; `?` lists all."""

_MOST_DIGITS = 9
_LABEL = "="
"""Before a new label that would be a command or a number."""


class Command(Enum):
    """What can be answered besides a label, as it is typed."""

    SKIP = "s"
    NONE = "n"
    JUNK = "j"
    BACK = "b"
    QUIT = "q"
    LIST = "?"

    @property
    def words(self) -> str:
        """What it means."""
        return _WORDS[self]


OF_LABELLING = (Command.SKIP, Command.BACK, Command.QUIT, Command.LIST)
"""Commands that every session has."""

_WORDS = {
    Command.SKIP: "skip",
    Command.NONE: "none of these",
    Command.JUNK: "junk",
    Command.BACK: "back",
    Command.QUIT: "quit",
    Command.LIST: "all",
}


@dataclass(frozen=True)
class Guess:
    """What a head takes an input for, None if it does not say; and probabilities of classes."""

    label: str | None
    probability: float
    others: Mapping[str, float]

    def sorted(self, labels: Collection[str]) -> list[str]:
        """Returns the labels and its own, likeliest first; others keep their order behind."""
        first = [self.label] if self.label else []
        return list(dict.fromkeys([*first, *self.others, *labels]))

    def share(self, label: str) -> str:
        """Writes the probability of a label, if it is known."""
        known = self.probability if label == self.label else self.others.get(label)
        return "" if known is None else f" ({known:.0%})"


@dataclass(frozen=True)
class Questions:
    """Asks for labels.

    A new class is asked about on a terminal, of a head that has classes: `known` are the labels
    that it has before the first question. `commands` are what else can be answered.
    """

    out: Output
    known: Collection[str]
    commands: Sequence[Command] = OF_LABELLING

    def help(self, labels: Collection[str]) -> str:
        """Says what can be answered."""
        typed = (f"{_typed(command, labels)}: {command.words}" for command in self.commands)
        return f"Enter: the guess is right; a number or a label; {'; '.join(typed)}"

    def ask(self, guess: Guess, labels: Collection[str]) -> str | Command:
        """Returns a label, or what to do instead; `labels` are those that there are by now."""
        ranked = guess.sorted(labels)
        self._offer(guess, ranked)
        while True:
            answer = read_line(self.out)
            if answer is None:
                return Command.QUIT
            command = self._command(answer, ranked)
            if command is Command.LIST:
                self._offer(guess, ranked, len(ranked))
                self.out.say(self.help(ranked))
            elif command:
                return command
            elif chosen := self._label(answer, guess, ranked):
                return chosen
            else:
                self._offer(guess, ranked)

    def _offer(self, guess: Guess, ranked: Sequence[str], most: int = MOST_OFFERED) -> None:
        """Lists labels by number, unless a label is a number itself; the guess by its key."""
        keys = ["" if _numeric(ranked) else f"{number}: " for number, _ in enumerate(ranked, 1)]
        if guess.label:
            keys[0] = "Enter: "
        offers = [
            f"{key}{label}{guess.share(label)}" for key, label in zip(keys, ranked, strict=True)
        ]
        if len(ranked) > most:
            offers[most:] = [f"{_typed(Command.LIST, ranked)}: {len(ranked) - most:,} more"]
        # Lines are broken between offers alone: no label has a zero in it.
        joined = ", ".join(offer.replace(" ", "\0") for offer in offers) or "no labels yet"
        width = shutil.get_terminal_size().columns
        lines = textwrap.wrap(joined, width, break_on_hyphens=False)
        self.out.say("\n".join(lines).replace("\0", " "))

    def _command(self, answer: str, labels: Collection[str]) -> Command | None:
        """Returns the command that an answer is, in either case; what is a label is none."""
        if answer in labels:
            return None
        typed = answer.lower()
        for command in self.commands:
            if typed in (f":{command.value}", _typed(command, labels)):
                return command
        return None

    def _label(self, answer: str, guess: Guess, ranked: Sequence[str]) -> str | Command | None:
        """Returns the label that an answer stands for; None if it stands for none.

        Where input ends at a question about it, that is to quit.
        """
        if not answer:
            return guess.label
        plain = answer in ranked or not answer.startswith(_LABEL)
        try:
            label = read_label(answer if plain else answer.removeprefix(_LABEL), Notes())
        except DatasetError as error:
            self.out.say(error.message)
            return None
        if label in ranked:
            return label
        if plain and label.isdecimal() and ranked and not _numeric(ranked):
            number = int(label) if len(label) <= _MOST_DIGITS else 0
            if 1 <= number <= len(ranked):
                return ranked[number - 1]
            self.out.say(f"there is no label number {number}")
            return None
        return self._new_class(label, ranked)

    def _new_class(self, label: str, ranked: Sequence[str]) -> str | Command | None:
        """Returns the class that is meant by a new one; None if it is to be asked for again."""
        nearest = nearest_label(label, ranked)
        named = f" nearest: {nearest!r}" if nearest else ""
        if not self.known or not sys.stdin.isatty():
            self.out.say(f"new class {label!r}{named and ';'}{named}")
            return label
        meant = {"c": label, "n": nearest, "a": None} if nearest else {"c": label, "a": None}
        keys = "[c]reate, [n]earest, [a]gain" if nearest else "[c]reate, [a]gain"
        while True:
            self.out.say(f"new class {label!r}?{named} - {keys}")
            answer = read_line(self.out)
            if answer is None:
                return Command.QUIT
            if answer.casefold() in meant:
                return meant[answer.casefold()]


def _typed(command: Command, labels: Collection[str]) -> str:
    """Returns how a command is typed: after a colon, if it is a label as well."""
    return f":{command.value}" if command.value in labels else command.value


def _numeric(labels: Collection[str]) -> bool:
    return any(label.isdecimal() for label in labels)

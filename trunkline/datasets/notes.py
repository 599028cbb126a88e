"""What reading left out or changed, gathered while rows are read."""

from collections.abc import Callable

from trunkline.values.notices import Notice
from trunkline.wording import counted

_FILES = ("file or folder", "files and folders")

_WORDS: dict[str, Callable[[int, str], str]] = {
    "left_out_suffix": lambda n, suffix: (
        f"{counted(n, f'{suffix} file')} left out, as this format is not read"
        if suffix
        else f"{counted(n, 'file')} left out, as no suffix says what they are"
    ),
    "left_out_place": lambda n, _: f"{counted(n, 'file')} left out beside the class folders",
    "left_out_hidden": lambda n, _: (
        f"{counted(n, f'hidden {_FILES[0]}', f'hidden {_FILES[1]}')} left out"
    ),
    "left_out_litter": lambda n, _: f"{counted(n, *_FILES)} left out that systems leave behind",
    "left_out_dead_link": lambda n, _: f"{counted(n, 'link')} left out that cannot be followed",
    "left_out_link": lambda n, _: f"{counted(n, 'link')} left out, leading to what is read already",
    "left_out_special": lambda n, _: (
        f"{counted(n, 'entry', 'entries')} left out, being neither file nor folder"
    ),
    "left_out_empty_class": lambda n, _: f"{counted(n, 'class folder')} left out without any file",
    "left_out_empty_row": lambda n, _: f"{counted(n, 'row')} left out without any filled cell",
    "left_out_header": lambda n, _: (
        f"{counted(n, 'row')} left out with the column names, as in tables that were joined"
    ),
    "one_text": lambda n, _: (
        f"{counted(n, 'file')} of several lines taken as one text each, as the first line names no "
        "`text` or `path` column"
    ),
    "rows_in_quotes": lambda n, _: (
        f"{counted(n, 'row')} over several lines that look like rows of "
        "their own; a quote may be missing"
    ),
    "label_normalised": lambda n, _: f"{counted(n, 'label')} changed to composed Unicode (NFC)",
    "label_trimmed": lambda n, _: f"{counted(n, 'label')} changed: white space around them is gone",
    "name_changed": lambda n, _: (
        f"{counted(n, 'name')} changed, being longer than 256 bytes or not fit to be shown"
    ),
    "classes_joined": lambda n, _: (
        f"{counted(n, 'class folder')} joined with others of the same label"
    ),
    "layout": lambda _, words: words,
}


class Notes:
    """Names, by reason, what was left out or changed. Complete when everything was read."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, reason: str, name: str, detail: str = "") -> None:
        """Adds a name, once; `reason` is a key of the table of words, `detail` goes into them."""
        self._names.setdefault((reason, detail), {})[name] = None

    def extend(self, other: "Notes") -> None:
        """Takes in what others have gathered."""
        for key, names in other._names.items():
            self._names.setdefault(key, {}).update(names)

    def notices(self) -> tuple[Notice, ...]:
        """Returns one notice for each reason, in the order in which they came up first."""
        return tuple(
            Notice(reason, _WORDS[reason](len(names), detail), len(names), tuple(names))
            for (reason, detail), names in self._names.items()
        )

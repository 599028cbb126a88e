"""The one form in which labels are kept and compared, and what they are made of."""

import unicodedata
from itertools import groupby

_JOINERS = "\u200c\u200d"
_TAGS = range(0xE0020, 0xE0080)
_UNSEEN = {"Cc", "Cf", "Cs", "Co"}
_LONGEST = 16_384  # characters; no server takes a label of so many
_MOST_MARKS = 30  # in a row: the bound of UAX 15's stream-safe text


def normalised(label: str) -> str:
    """Returns the label in Unicode's composed form (NFC, UAX 15).

    File names and tables of different systems write an accent as a character of its own or as a
    part of its letter. Both look the same, and are the same label. What cannot be a label in any
    language, thousands of characters or more than 30 accents on one letter, stays as it is: the
    time that normalising takes grows with the square of the accents.
    """
    if label.isascii() or len(label) > _LONGEST:
        return label
    marks = groupby(label, key=lambda character: unicodedata.combining(character) > 0)
    if any(is_mark and sum(1 for _ in run) > _MOST_MARKS for is_mark, run in marks):
        return label
    return unicodedata.normalize("NFC", label)


def unseen(label: str) -> str | None:
    """Returns the first character that no label may have, as code and name; None without one.

    These are control and format characters, private ones and half surrogate pairs. Inside a label
    joiners are taken, without which some emoji, Persian and many Indian words cannot be written,
    and so are tags, which end some flags (Unicode, UAX 31 and UTS 51).
    """
    for place, character in enumerate(label):
        code = ord(character)
        joins = character in _JOINERS and 0 < place < len(label) - 1
        tags = code in _TAGS and place > 0
        none = code & 0xFFFE == 0xFFFE  # what Unicode says is no character
        if none or (unicodedata.category(character) in _UNSEEN and not (joins or tags)):
            return f"U+{code:04X}, {unicodedata.name(character, 'without a name')}"
    return None


def visible(text: str) -> str:
    """Returns the text with a mark in place of each character that a terminal would obey.

    These are control characters, marks that turn the direction of writing, and half surrogate
    pairs. Joiners and tags, which words and emoji are made with, stay.
    """
    if text.isprintable():
        return text
    return "".join("\ufffd" if _is_obeyed(character) else character for character in text)


def _is_obeyed(character: str) -> bool:
    kept = character in _JOINERS or ord(character) in _TAGS
    return not kept and unicodedata.category(character) in _UNSEEN - {"Co"}

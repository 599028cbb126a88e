"""The one form in which labels are kept and compared."""

import unicodedata
from itertools import groupby

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

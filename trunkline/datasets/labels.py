"""Labels as they are found in files: cleaned, and compared with one another."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from itertools import combinations

from trunkline.datasets.notes import Notes
from trunkline.errors import DatasetError
from trunkline.labels import normalised, unseen
from trunkline.values.notices import Notice, notices_of

MOST_BYTES = 4096
"""No server takes longer labels; most take fewer bytes."""

_BETWEEN = re.compile(r"(?<=\w)[\s_-]+(?=\w)|_")
_UNHEEDED = re.compile("[\u0300-\u036f\ufe00-\ufe0f\u200c\u200d]")
"""Accents, variation selectors and joiners."""
_NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]*)?")
_MISSING = frozenset(
    {"nan", "nat", "<na>", "none", "null", "nil", "n/a", "na", "undefined", "?", "-"}
    | {"#n/a", "#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!"}  # of spreadsheets
)
_SHORTEST_NEAR = 3
_LONGEST_NEAR = 40
_RARE = 10
"""A class is rare beside another one that has so many times its examples."""


def read_label(raw: str, notes: Notes) -> str:
    """Returns the label in composed Unicode (NFC), without white space around it, and notes that.

    Raises `DatasetError` for a label that no server takes.
    """
    if len(raw) > MOST_BYTES:
        raise _too_long(len(raw), "characters")
    label = normalised(raw)
    if label != raw:
        notes.add("label_normalised", label)
    if label != label.strip():
        label = label.strip()
        notes.add("label_trimmed", label)
    if not label:
        raise DatasetError("the label is empty", field="label")
    if found := unseen(label):
        raise DatasetError(f"the label has control characters ({found}): {label!r}", field="label")
    if (size := len(label.encode())) > MOST_BYTES:
        raise _too_long(size, "bytes")
    return label


def _too_long(size: int, unit: str) -> DatasetError:
    return DatasetError(
        f"the label has {size} {unit}, at most {MOST_BYTES} bytes are possible",
        field="label",
        limit=str(MOST_BYTES),
        value=str(size),
    )


def doubtful_labels(counts: Mapping[str, int]) -> Iterator[Notice]:
    """Yields notices about labels that may be misspelt; `counts` are the examples of each."""
    keys = {label: _key(label) for label in counts}
    near = _near(keys)
    alike, words = similar_labels(counts), "of classes with almost the same name"
    yield from notices_of("similar_labels", alike, words, "pair")
    missing = (label for label in counts if label.casefold() in _MISSING)
    words = "named as if the label were missing"
    yield from notices_of("missing_label", missing, words, "class", "classes")
    single = (
        _misspelt(label, counts, near[label]) for label, count in counts.items() if count == 1
    )
    words = "with a single example in this data"
    yield from notices_of("single_example", single, words, "class", "classes")
    rare = (
        _misspelt(label, counts, common)
        for label, count in counts.items()
        if count > 1 and len(keys[label]) > _SHORTEST_NEAR and keys[label].isalpha()
        for common in [{row for row in near[label] if counts[row] >= _RARE * count}]
        if common
    )
    words = "named almost like a larger one"
    yield from notices_of("rare_label", rare, words, "rare class", "rare classes")


def similar_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the pairs of labels with the same key, each as "one / other", sorted."""
    by_key: defaultdict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        by_key[_key(label)].append(label)
    pairs = (pair for alike in by_key.values() for pair in combinations(alike, 2))
    return tuple(f"{label} / {other}" for label, other in sorted(pairs))


def nearest_label(label: str, others: Iterable[str]) -> str | None:
    """Returns which of the others is written most like the label; None if none is like it.

    Their keys are compared, by the letters that they share in order (Ratcliff and Obershelp, 1988).
    """
    by_key = {_key(other): other for other in others}
    found = get_close_matches(_key(label), by_key, n=1)
    return by_key[found[0]] if found else None


def _misspelt(label: str, counts: Mapping[str, int], others: set[str]) -> str:
    if not others:
        return label
    return f"{label} (perhaps {max(others, key=lambda row: (counts[row], row))})"


def _key(label: str) -> str:
    """Returns the label without case, accents, what is not seen, and what stands between its words.

    Of a number it is the value, so that 1 and 1.0 are alike. Marks of other scripts than Latin,
    Greek and Cyrillic are no accents: they make other letters.
    """
    plain = unicodedata.normalize("NFKD", label.casefold())
    if _NUMBER.fullmatch(plain):
        return str(Decimal(plain).normalize())
    return _BETWEEN.sub("", _UNHEEDED.sub("", plain))


def _near(keys: Mapping[str, str]) -> dict[str, set[str]]:
    """Returns the other labels whose keys are one slip of the keyboard away, or the same.

    Two words that differ by one letter, missing, wrong or swapped with its neighbour, are the same
    after at most one deletion in each (Garbe's symmetric delete, 2012), which takes time linear in
    their number. Short ones and those with digits are left alone: `a1` and `a2` are no slip.
    """
    by_deletion: defaultdict[str, set[str]] = defaultdict(set)
    for label, key in keys.items():
        for shorter in _deletions(key):
            by_deletion[shorter].add(label)
    return {
        label: {
            other for shorter in _deletions(key) for other in by_deletion[shorter] if other != label
        }
        for label, key in keys.items()
    }


def _deletions(key: str) -> set[str]:
    if not _SHORTEST_NEAR < len(key) <= _LONGEST_NEAR or any(char.isdecimal() for char in key):
        return {key}
    return {key, *(key[:at] + key[at + 1 :] for at in range(len(key)))}

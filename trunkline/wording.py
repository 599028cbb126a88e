"""Figures in words, for terminals and pages alike."""


def size(count: int) -> str:
    """Writes a number of bytes for a person."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Writes a number of things; the plural is the noun with an s, if no other is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"

"""Figures in words, for terminals and pages alike."""


def size(count: int) -> str:
    """Writes a number of bytes for a person."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"

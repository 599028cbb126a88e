"""Elements of HTML and SVG, written so that an XML parser can read them, too."""

import re
from html import escape

# What XML 1.0 (section 2.2) has no room for.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")


# Elements that may be written in short; others, HTML would take for open ones.
_EMPTY = frozenset({"circle", "img", "line", "meta", "polygon", "polyline", "rect"})


class Markup(str):
    """Text that is markup already; every other text is escaped."""

    __slots__ = ()


Value = str | float | None


def tag(name: str, /, *children: str | None, **attributes: Value) -> Markup:
    """Writes an element. Children and attributes that are None are left out.

    Underscores in attributes stand for hyphens, one at the end for nothing: `class_`,
    `text_anchor`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not any(children):
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: str | None) -> Markup:
    """Joins elements, one after the other."""
    return Markup("".join(map(_text, filter(None, children))))


def _text(child: str) -> str:
    return child if isinstance(child, Markup) else escape(_shown(child))


def _value(value: str | float) -> str:
    return escape(_shown(value)) if isinstance(value, str) else f"{round(value, 2):g}"


def _shown(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text.encode(errors="replace").decode())

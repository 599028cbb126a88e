"""What a project of Label Studio asks people: one choice about a text or a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from service.errors import InvalidRequest

MAX_CONFIG_BYTES = 1_000_000
"""Of a labelling configuration, which a person writes."""

_OBJECTS = {"text": "text", "image": "image"}
"""Tags that a head can look at, and what kind of input they show."""


@dataclass(frozen=True, slots=True)
class Labelling:
    """The question that a head answers.

    Attributes:
        from_name, to_name: names of the choices, and of what they are about.
        field: of a task's data, that has the input.
        kind: "text" or "image".
        choices: what may be answered; a prediction of another class is not shown.
    """

    from_name: str
    to_name: str
    field: str
    kind: str
    choices: frozenset[str]

    @classmethod
    def read(cls, config: Any) -> Labelling:
        """Reads a labelling configuration, an XML document.

        Raises:
            InvalidRequest: it is none, or has no choices about a text or a picture.
        """
        root = _parse(config)
        objects = {tag.get("name"): tag for tag in root.iter() if tag.tag.lower() in _OBJECTS}
        for tag in root.iter():
            about = objects.get((tag.get("toName") or "").split(",")[0])
            if tag.tag.lower() != "choices" or about is None:
                continue
            value, name = about.get("value") or "", tag.get("name")
            if value.startswith("$") and name:
                return cls(
                    name,
                    str(about.get("name")),
                    value[1:],
                    _OBJECTS[about.tag.lower()],
                    frozenset(_values(tag)),
                )
        raise InvalidRequest(
            "label_config: has no <Choices> about a <Text> or an <Image> whose value is a field of "
            "the task; a head answers such a question alone",
            field="label_config",
            limit="<Choices>",
            value=root.tag,
        )

    def chosen(self, annotation: Mapping[str, Any]) -> str:
        """Returns the choice of an annotation; "" for one without, or with several.

        Raises:
            InvalidRequest: it is not formed as an annotation.
        """
        result = annotation.get("result")
        result = [] if result is None else result
        if not isinstance(result, list):
            raise InvalidRequest.at("annotation.result", "must be {limit}", "an array")
        for part in result:
            if isinstance(part, dict) and part.get("from_name") == self.from_name:
                value = part.get("value")
                choices = value.get("choices") if isinstance(value, dict) else None
                if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], str):
                    return choices[0]
        return ""


def _parse(config: Any) -> Element:
    if not isinstance(config, str) or not config.strip():
        raise InvalidRequest.at("label_config", "must be {limit}", "an XML document")
    size = len(config.encode("utf-8", "surrogatepass"))
    if size > MAX_CONFIG_BYTES:
        raise InvalidRequest.at(
            "label_config", "at most {limit} bytes, has {value}", MAX_CONFIG_BYTES, size
        )
    try:
        root: Element = fromstring(config, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InvalidRequest(
            f"label_config: is no XML document: {error}", field="label_config", limit="XML"
        ) from error
    return root


def _values(choices: Element) -> Iterator[str]:
    """Yields what is stored for each choice: its alias, or its value."""
    for tag in choices.iter():
        if tag.tag.lower() == "choice":
            yield tag.get("alias") or tag.get("value") or ""

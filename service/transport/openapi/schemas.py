"""JSON schemas of the proto files' messages, as the REST transport reads and writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Json = dict[str, Any]

TIMESTAMP = "google.protobuf.Timestamp"

_WHOLE: Json = {"type": "integer"}
_NUMBER: Json = {"type": "number", "format": "double"}
_SCALARS: Mapping[int, Json] = {
    FieldDescriptor.TYPE_DOUBLE: _NUMBER,
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_UINT32: _WHOLE | {"minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_INT32: _WHOLE | {"minimum": -(2**31), "maximum": 2**31 - 1},
    # JSON's numbers end at 53 bits in many programs, so the JSON form of protobuf takes strings.
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
}


class Schemas:
    """Collects the schemas of messages and enums, each once, under the short name.

    Args:
        comments: by full name.
        requests: the messages of all requests. What they reach has no required fields, as nothing
            in proto3 has to be set; the messages of replies have all fields but optional ones.
        replacements: schemas of what REST writes in a form of its own, by the full name of a
            message or field.
    """

    def __init__(
        self,
        comments: Mapping[str, str],
        requests: Iterable[Descriptor],
        replacements: Mapping[str, Json],
    ) -> None:
        self.collected: dict[str, Json] = {}
        self._comments = comments
        self._replacements = replacements
        self._sent: set[str] = set()
        for descriptor in requests:
            self._mark_sent(descriptor)

    def comment(self, full_name: str) -> str | None:
        """Returns what the proto file says about a definition; None for nothing."""
        return self._comments.get(full_name)

    def message(self, descriptor: Descriptor) -> Json:
        """Returns a reference to the message's schema."""
        if descriptor.full_name == TIMESTAMP:
            return {"type": "string", "format": "date-time"}
        return self._reference(
            descriptor.full_name, descriptor.name, lambda: self._object(descriptor)
        )

    def field(self, field: FieldDescriptor) -> Json:
        """Returns the schema of a field, with its comment."""
        name = field.full_name
        return self._described(name, self._replacements.get(name) or self._value(field))

    def _described(self, full_name: str, schema: Json) -> Json:
        """Adds the comment, unless the schema has a description of its own."""
        described = self.comment(full_name)
        return {"description": described} | schema if described else schema

    def _reference(self, full_name: str, name: str, make: Callable[[], Json]) -> Json:
        if name not in self.collected:
            self.collected[name] = {}  # holds the place, as messages may contain one another
            schema = self._replacements.get(full_name) or make()
            self.collected[name] = self._described(full_name, schema)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, descriptor: Descriptor) -> Json:
        schema: Json = {
            "type": "object",
            "properties": {field.name: self.field(field) for field in descriptor.fields},
            "additionalProperties": False,
        }
        always = [field.name for field in descriptor.fields if not field.has_presence]
        if descriptor.full_name not in self._sent and always:
            schema["required"] = always
        for oneof in descriptor.oneofs:
            if len(oneof.fields) > 1:  # `optional` makes a oneof of a single field
                schema["oneOf"] = [{"required": [field.name]} for field in oneof.fields]
        return schema

    def _value(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = field.message_type.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self._single(values)}
        if field.is_repeated:
            return {"type": "array", "items": self._single(field)}
        return self._single(field)

    def _single(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            enum = field.enum_type
            return self._reference(enum.full_name, enum.name, lambda: self._enum(enum))
        return dict(_SCALARS[field.type])

    def _enum(self, enum: EnumDescriptor) -> Json:
        schema: Json = {"type": "string", "enum": [value.name for value in enum.values]}
        lines = [
            f"- `{value.name}`: {comment}"
            for value in enum.values
            if (comment := self.comment(f"{enum.full_name}.{value.name}"))
        ]
        head = self.comment(enum.full_name)
        described = "\n".join(([head, ""] if head and lines else [head] if head else []) + lines)
        return schema | {"description": described} if described else schema

    def _mark_sent(self, descriptor: Descriptor) -> None:
        if descriptor.full_name in self._sent:
            return
        self._sent.add(descriptor.full_name)
        for field in descriptor.fields:
            if field.message_type is not None:
                self._mark_sent(field.message_type)

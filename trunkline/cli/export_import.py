"""`trunkline heads export` and `import`."""

from pathlib import Path

import click

from trunkline.cli.connection import client_command, head_argument, version_option
from trunkline.cli.next_step import next_after_version, next_step
from trunkline.cli.output import Failure, Output, echo
from trunkline.cli.versions import removed_notices
from trunkline.clients.client import Client
from trunkline.wording import size

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("export")
@head_argument
@click.argument("file", type=_FILE, metavar="[FILE.safetensors]", required=False)
@version_option
@click.option("--onnx", type=_FILE, metavar="FILE", help="Write an ONNX graph to this file.")
@click.option("--card", type=_FILE, metavar="FILE", help="Write the model card to this file.")
@click.option("--tail", type=_FILE, metavar="FILE", help="Write its tail's weights to this file.")
@client_command
def export_head(
    client: Client,
    out: Output,
    head: str,
    file: Path | None,
    version: int | None,
    onnx: Path | None,
    card: Path | None,
    tail: Path | None,
) -> None:
    """Write a version's weights to a safetensors file, its ONNX graph, its model card, its tail.

    The graph takes embeddings and gives probabilities.
    """
    if not (file or onnx or card or tail):
        raise click.UsageError("Give FILE.safetensors, --onnx, --card or --tail.")
    export = client.export_head(head, version, onnx=onnx is not None)
    number = export.version.version
    if tail and export.tail is None:
        raise Failure(f"version {number} of {head} has no tail: it runs on the frozen backbone")
    files = {
        "file": (file, export.safetensors),
        "onnx": (onnx, export.onnx or b""),
        "card": (card, export.model_card.encode()),
        "tail": (tail, export.tail or b""),
    }
    written = [(path, content) for path, content in files.values() if path]
    for path, content in written:
        path.write_bytes(content)
    if out.as_json:
        named = {name: str(path) if path else None for name, (path, _) in files.items()}
        out.document(named | {"version": export.version})
        return
    for path, content in written:
        echo(f"wrote version {number} of {head} to {path} ({size(len(content))})")
    if file and export.tail and not tail:
        out.say("it runs on a tail of its own, which --tail FILE writes")
    elif file:
        backbone = export.version.backbone
        next_step(out, "heads", "import", "TENANT/HEAD", str(file), "--backbone", backbone)


@click.command("import")
@head_argument
@click.argument("file", type=_FILE, metavar="FILE.safetensors")
@click.option("--backbone", metavar="NAME", required=True, help="The backbone it was trained on.")
@click.option(
    "--fingerprint",
    metavar="HEX",
    help="The backbone's fingerprint (default: the file's, else the loaded backbone's).",
)
@click.option(
    "--labels",
    metavar="A,B,C",
    help="The label of each row of the weights (default: the file's metadata).",
)
@click.option(
    "--no-activate",
    "activate_it",
    flag_value=False,
    type=bool,
    default=True,
    help="Leave the version that answers as it is.",
)
@client_command
def import_head(
    client: Client,
    out: Output,
    head: str,
    file: Path,
    backbone: str,
    fingerprint: str | None,
    labels: str | None,
    activate_it: bool,
) -> None:
    """Make a version from the weights in a safetensors file, and the head if there is none."""
    version = client.import_head(
        head,
        file.read_bytes(),
        backbone,
        fingerprint=fingerprint,
        labels=labels.split(",") if labels else (),
        activate=activate_it,
    )
    out.result(version, f"imported as version {version.version} of {head}")
    out.notices(removed_notices(version.removed_versions))
    next_after_version(out, head, version.version, active=version.active)

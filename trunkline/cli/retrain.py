"""`trunkline heads retrain`: heads on backbones that have changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from trunkline.cli.connection import client_command, name_argument
from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, described
from trunkline.cli.upload_steps import train_head
from trunkline.clients.client import Client
from trunkline.errors import FailedPrecondition, TrunklineError
from trunkline.resources import HeadName, TenantName
from trunkline.values.estimates import Estimate
from trunkline.values.heads import Head
from trunkline.wording import accuracy, counted


@dataclass(frozen=True)
class _Retrained:
    """What became of a head: a version with its estimate, or an error."""

    head: str
    backbone: str
    version: int | None = None
    estimate: Estimate | None = None
    error: TrunklineError | None = None


def _read_owner(text: str) -> TenantName | HeadName:
    whole_tenant = "/" not in text or (text.startswith("tenants/") and text.count("/") == 1)
    return TenantName.read(text) if whole_tenant else HeadName.read(text)


@click.command()
@name_argument("owner", _read_owner, "TENANT[/HEAD]")
@click.option("--backbone", metavar="NAME", help="A loaded backbone (default: the head's own).")
@client_command
def retrain(
    client: Client, out: Output, owner: TenantName | HeadName, backbone: str | None
) -> None:
    """Train heads again after their backbone has changed.

    The server embeds the inputs that a head has kept anew, with its own backbone as it is loaded
    now, or with --backbone. TENANT stands for those of its heads that are bound to another
    fingerprint of their backbone than the loaded one. Exits 1 if any could not be trained.
    """
    if isinstance(owner, HeadName):
        heads = [client.get_head(owner.short)]
    else:
        heads = _outdated(client, owner, backbone)
        if not heads:
            out.say(f"every head of {owner.tenant} is up to date")
    rows: list[_Retrained] = []
    with if_interrupted(lambda: f"{len(rows)} of {counted(len(heads), 'head')} done before"):
        for head in heads:
            rows.append(_retrained(client, out, head, backbone or head.backbone))
    _print(out, rows)
    if isinstance(owner, HeadName):
        next_step(out, "report", owner.short)
    else:
        next_step(out, "heads", "list", owner.tenant)


def _outdated(client: Client, tenant: TenantName, backbone: str | None) -> list[Head]:
    """Lists the heads on another fingerprint of their backbone (of this one) than the loaded.

    A head whose backbone is not loaded at all is among them: the server says why it cannot be
    trained.
    """
    loaded = {row.name: row.fingerprint for row in client.backbones()}
    if backbone and backbone not in loaded:
        known = ", ".join(loaded)
        raise FailedPrecondition(
            "the backbone is not loaded", field="backbone", limit=known, value=backbone
        )
    return [
        head
        for head in client.list_heads(tenant.tenant)
        if backbone in (None, head.backbone) and loaded.get(head.backbone) != head.fingerprint
    ]


def _retrained(client: Client, out: Output, head: Head, backbone: str) -> _Retrained:
    name = HeadName.parse(head.name).short
    try:
        training = train_head(
            client, out, name, activate=True, backbone=backbone, title=f"training {name}"
        )
        estimate = client.report(name, training.version).estimate
    except TrunklineError as error:
        return _Retrained(name, backbone, error=error)
    return _Retrained(name, backbone, training.version, estimate)


def _print(out: Output, rows: Sequence[_Retrained]) -> None:
    if out.as_json:
        out.document({"heads": [_document(row) for row in rows]})
    elif rows:
        out.rows(
            rows,
            {
                "head": lambda row: row.head,
                "backbone": lambda row: row.backbone,
                "version": lambda row: row.version,
                "estimated accuracy": lambda row: row.estimate and accuracy(row.estimate),
                "error": lambda row: row.error and described(row.error),
            },
        )
    if any(row.error for row in rows):
        raise click.exceptions.Exit(1)


def _document(row: _Retrained) -> dict[str, object]:
    error = row.error and {
        "code": row.error.code,
        "message": row.error.message,
        "field": row.error.field,
        "limit": row.error.limit,
        "value": row.error.value,
    }
    return vars(row) | {"error": error}

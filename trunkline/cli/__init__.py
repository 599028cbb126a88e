"""The command line: `trunkline`."""

import click

from trunkline.cli.accuracy import accuracy
from trunkline.cli.advise import advise
from trunkline.cli.audit import audit
from trunkline.cli.backbones import backbones
from trunkline.cli.classes import classes
from trunkline.cli.connection import Connection, server_options, tls_files
from trunkline.cli.evaluate import evaluate
from trunkline.cli.examples import examples
from trunkline.cli.failing import ErrorsAsLines
from trunkline.cli.feedback import feedback
from trunkline.cli.forget import forget
from trunkline.cli.heads import heads
from trunkline.cli.keys import keys, whoami
from trunkline.cli.label import label
from trunkline.cli.login import login, logout
from trunkline.cli.predict import predict
from trunkline.cli.report import report
from trunkline.cli.review import review
from trunkline.cli.server import backup, check, config, demo, extractor, restore, serve, store
from trunkline.cli.tenants import tenants, usage
from trunkline.cli.train import train
from trunkline.cli.trainings import trainings
from trunkline.connection import channel
from trunkline.connection.addresses import DEFAULT_ADDRESS
from trunkline.version import __version__


@click.group(
    cls=ErrorsAsLines,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@server_options(default_server=DEFAULT_ADDRESS, default_timeout=channel.DEFAULT_TIMEOUT, env=True)
@click.version_option(__version__, prog_name="trunkline")
@click.pass_context
def main(
    ctx: click.Context, /, server: str, token: str | None, timeout: float, **files: str | None
) -> None:
    """One frozen backbone, a head for every tenant.

    The options before a command hold for it, unless they are given after it, too.
    """
    ctx.obj = Connection(server, token, timeout, tls_files(files))


COMMANDS = (
    serve,
    extractor,
    config,
    advise,
    train,
    predict,
    evaluate,
    feedback,
    label,
    review,
    accuracy,
    forget,
    examples,
    classes,
    heads,
    trainings,
    report,
    backbones,
    keys,
    login,
    logout,
    whoami,
    tenants,
    usage,
    audit,
    check,
    backup,
    restore,
    store,
    demo,
)
for command in COMMANDS:
    main.add_command(command)

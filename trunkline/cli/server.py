"""`trunkline serve`, `extractor` and `demo`, which run the server's own packages."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from trunkline.cli.output import Failure

# Arguments, `--help` included, are the server's own to read.
_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}

_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def serve(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Start the server: gRPC and REST (see `trunkline serve --help`)."""
    with _from_a_checkout():
        from service.serve import serve_main
    ctx.exit(serve_main(list(arguments)))


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def extractor(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Start the extraction service alone (see `trunkline extractor --help`)."""
    with _from_a_checkout():
        from service.serve import extractor_main
    ctx.exit(extractor_main(list(arguments)))


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def demo(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the main job on real data, from an empty server to predictions and feedback."""
    with _from_a_checkout():
        from service.demo import demo_main
    ctx.exit(demo_main(list(arguments)))


@contextmanager
def _from_a_checkout() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "service":
            raise Failure(
                "the server runs from a checkout of the repository, which this is not: "
                "clone it and install it with `pip install -e '.[server]'`"
            ) from error
        raise Failure(
            f"the server needs a package that is not installed ({error.name}): "
            "install it with `pip install -e '.[server]'` in the checkout"
        ) from error

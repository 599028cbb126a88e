"""`--html FILE`: what a command prints, as a page, too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def html_option(text: str) -> Callable[[Command], Command]:
    """Makes `--html`, which `text` explains. A file that has no folder is a mistake of usage."""
    return click.option(
        "--html",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        callback=_in_a_folder,
        help=text,
    )


def _in_a_folder(ctx: click.Context, param: click.Parameter, file: Path | None) -> Path | None:
    # Else it would turn out when all is done, which may take minutes.
    if file is not None and not file.parent.is_dir():
        raise click.BadParameter(f"there is no folder {file.parent}", ctx, param)
    return file

"""What ``trunkline store copy`` and ``store migrate`` print, and how they exit."""

from __future__ import annotations

import sys
from pathlib import Path

import sqlalchemy
from rich.progress import TaskProgressColumn

from service.check.places import Place, shown
from service.check.shown import Bar
from service.config.store_address import store_url
from service.errors import ServiceError
from service.logs import configure_logging
from service.moving.ends import make_store, open_source, open_target
from service.moving.rows import copy_rows
from service.store.upgrade import newest_revision
from trunkline.cli.output import Output

DONE, FAILED = 0, 1

_WHAT_STAYS = (
    "the store that was copied stays as it is: delete it when the other one serves, as what is "
    "forgotten from now on stays in it; activations are computed anew where they are missing"
)


def copy_main(source: str, target: str, password_file: Path | None, *, as_json: bool) -> int:
    """Copies a store; returns the exit status.

    Args:
        source, target: data directories, or addresses of PostgreSQL databases.
        password_file: has the password of whichever is one.
    """
    out = Output(as_json)
    configure_logging("warning", "console")
    try:
        start, end = _place(source), _place(target)
        with out.progress(TaskProgressColumn()) as bars:
            bar = Bar(bars)
            with open_source(start, password_file) as reading:
                with open_target(end, password_file) as writing:
                    copied = copy_rows(reading, writing, bar.begin, bar.advance)
                bar.end()
    except (ServiceError, ValueError) as error:
        return _failed(str(error))
    except sqlalchemy.exc.SQLAlchemyError as error:
        return _failed(" ".join(str(getattr(error, "orig", None) or error).split()))
    rows = sum(table.rows for table in copied.values())
    out.result(
        {"from": shown(start), "to": shown(end), "tables": copied},
        f"copied {rows} rows of {len(copied)} tables, and read them back",
    )
    out.say(_WHAT_STAYS)
    return DONE


def migrate_main(place: str, password_file: Path | None) -> int:
    """Brings a store to this release's schema; returns the exit status."""
    configure_logging("warning", "console")
    try:
        make_store(_place(place), password_file)
    except (ServiceError, ValueError) as error:
        return _failed(str(error))
    Output(as_json=False).say(f"{shown(_place(place))} has schema {newest_revision()}")
    return DONE


def _place(text: str) -> Place:
    return store_url(text) if "://" in text else Path(text)


def _failed(words: str) -> int:
    print(f"error: {words}", file=sys.stderr)
    return FAILED

"""What ``trunkline check`` prints, and how it exits."""

from __future__ import annotations

from pathlib import Path

from rich.progress import TaskProgressColumn

from service.check.checks import run_checks
from service.check.findings import Finding, Store
from service.check.places import Place, open_place, shown
from service.check.read_only import has_journal
from service.check.shown import Bar, print_failure, print_finding
from service.config.store_address import store_url
from service.errors import ServiceError
from trunkline.cli.output import Output
from trunkline.values.notices import Notice

CLEAN, FOUND, UNREADABLE = 0, 1, 2

_NOT_OURS = (
    "pages, indexes and references are PostgreSQL's: pg_amcheck looks at them; activations are a "
    "server's"
)


def check_main(place: Path | str, password_file: Path | None = None, *, as_json: bool) -> int:
    """Checks a store and says what is wrong; returns the exit status.

    Args:
        place: a data directory, or the address of a PostgreSQL database.
        password_file: has the password for that.
    """
    out, notices = Output(as_json), list[Notice]()
    try:
        at = store_url(place) if isinstance(place, str) and "://" in place else Path(place)
        data_dir = shown(at)
        had_journal = _has_journal(at)
        found = _look(at, password_file, out, notices)
    except (ServiceError, ValueError) as error:
        return _unreadable(out, str(error))
    except OSError as error:
        return _unreadable(out, f"data_dir: {place} cannot be checked: {error.strerror}")
    if not isinstance(at, Path):
        notices.append(Notice("not_looked_at", _NOT_OURS, 1))
    elif _has_journal(at) != had_journal:
        words = "a server was started or stopped meanwhile: what was found may be of both times"
        notices.append(Notice("store_changed", words, 1))
    out.notices(notices)
    if as_json:
        out.document({"data_dir": data_dir, "findings": found, "notices": notices})
    else:
        for finding in found:
            print_finding(out, finding)
        out.say(f"found: {len(found)}" if found else "nothing wrong was found")
    return FOUND if found else CLEAN


def _unreadable(out: Output, words: str) -> int:
    print_failure(out, words)
    return UNREADABLE


def _has_journal(place: Place) -> bool:
    return isinstance(place, Path) and has_journal(place)


def _look(
    place: Place, password_file: Path | None, out: Output, notices: list[Notice]
) -> list[Finding]:
    opened = open_place(place, password_file)
    with opened as connection, out.progress(TaskProgressColumn()) as bars:
        bar = Bar(bars)
        folder = place if isinstance(place, Path) else None
        store = Store(connection, folder, bar.advance, notices)
        found = list(run_checks(store, bar.begin))
        bar.end()
    return found

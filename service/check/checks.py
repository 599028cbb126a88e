"""All checks, in the order in which they run; a further one is a function and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import sqlalchemy

from service.check import database, embeddings, tails, tenants, values, versions
from service.check.activations import activations
from service.check.findings import BACKUP, RESTORE, Check, Finding, Store
from service.check.kept_inputs import kept_inputs

CHECKS = (
    Check("schema", database.revision, needs_schema=False),
    Check("journal", database.journal, needs_schema=False, of_files=True),
    Check("integrity", database.integrity, needs_schema=False, of_files=True),
    Check("values", values.values, of_files=True),
    Check("specs", values.specs),
    Check("active_versions", versions.active_versions),
    Check("weights", versions.weights),
    Check("labels", versions.labels),
    Check("members", versions.members),
    Check("tails", tails.tails),
    Check("missing_tails", tails.missing),
    Check("embeddings", embeddings.vectors),
    Check("missing_embeddings", embeddings.missing),
    Check("kept_inputs", kept_inputs),
    Check("activations", activations, of_files=True),
    Check("counts", tenants.counts),
)


def run_checks(store: Store, begin: Callable[[str], None]) -> Iterator[Finding]:
    """Yields all that is wrong with a store.

    Args:
        begin: is told the name of each check before it looks.
    """
    current = True
    for check in CHECKS:
        if (check.needs_schema and not current) or (check.of_files and store.folder is None):
            continue
        begin(check.name)
        try:
            for finding in check.look(store):
                yield _named(finding, check, store)
                current = current and check.name != "schema"
        except sqlalchemy.exc.DatabaseError as error:
            current = current and check.name != "schema"
            yield _named(Finding(f"the store cannot be read: {error.orig}", RESTORE), check, store)
        except Exception as error:  # what reads damaged values raises nearly anything
            words = f"it met something that it cannot read: {type(error).__name__}: {error}"
            yield _named(Finding(words, RESTORE), check, store)


def _named(finding: Finding, check: Check, store: Store) -> Finding:
    away = store.folder is None and finding.remedy == RESTORE
    return replace(finding, check=check.name, remedy=BACKUP if away else finding.remedy)

"""Files of activations, by their headers."""

from __future__ import annotations

from collections.abc import Iterator

from service.check.findings import Finding, Store
from service.tuning.activation_files import SUFFIX, read_layout


def activations(store: Store) -> Iterator[Finding]:
    """Finds files that do not hold what they say; a tuning would compute their rows again."""
    assert store.folder is not None
    heads = store.heads_by_uid()
    files = sorted((store.folder / "activations").glob(f"*/*/*{SUFFIX}"))
    for done, path in enumerate(files):
        store.advance(done, len(files))
        try:
            read_layout(path)
        except FileNotFoundError:
            continue  # a running server has made room
        except (ValueError, OSError) as error:
            uid = path.parent.name.rpartition("-")[0]
            name = path.relative_to(store.folder)
            yield Finding(
                f"{name} is damaged: {error}",
                "delete it; what is missing is computed again from kept inputs",
                heads[uid].resource if uid in heads else "",
            )

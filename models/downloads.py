"""Weights that a library keeps in its own cache, or fetches into it where there is a network.

Where there is none, that is found out in seconds: the libraries' own downloads are only begun when
the other side answers. Who is to stay offline asks nobody.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from models.errors import UnknownBackbone, WeightsMissing

ANSWER_SECONDS = 5.0
"""How long the other side may take to answer. Too short gives up on slow networks; too long delays
the error where there is none."""

_FORBIDDEN = "offline is set"

_DIGEST = re.compile(r"-([a-f0-9]{8,})\.")
"""Where torch's hub puts the first hex digits of a file's SHA-256 into its name."""


def torch_hub_file(backbone: str, url: str, *, offline: bool = False) -> Path:
    """Return the file of a URL in the cache of torch's hub, downloaded if need be.

    Args:
        offline: whether nothing may be downloaded.

    Raises:
        WeightsMissing: it is not there and cannot be fetched.
    """
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
    if path.is_file():
        return path
    reason = _FORBIDDEN if offline else _unreachable(url)
    if reason is None:
        digest = _DIGEST.search(path.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                url, str(path), digest and digest.group(1), progress=False
            )
            return path
        except (OSError, RuntimeError) as error:
            reason = str(error)
    raise WeightsMissing(
        f"the weights of {backbone} are not at {path}, and cannot be downloaded: {reason}. Put the "
        f"file there, or run where there is a network: curl --create-dirs -o {path} {url}"
    )


def hub_folder(
    backbone: str,
    repository: str,
    revision: str | None,
    choices: Sequence[Sequence[str]],
    complete: Callable[[Path], bool],
    *,
    offline: bool = False,
) -> Path:
    """Return the folder of a repository in the cache of Hugging Face's hub, downloaded if need be.

    Args:
        revision: branch, tag or commit; None for the main branch.
        choices: patterns of the files to fetch; another choice only if the one before it does not
            bring all that is needed.
        complete: whether all that is needed is in a folder.
        offline: whether nothing may be downloaded.

    Raises:
        WeightsMissing: something is not there and cannot be fetched.
        UnknownBackbone: it is no name of a repository.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    def fetch(patterns: Sequence[str], *, local: bool) -> Path | None:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=list(patterns),
            local_files_only=local,
            etag_timeout=ANSWER_SECONDS,
        )
        return Path(folder) if complete(Path(folder)) else None

    try:
        if found := fetch([], local=True):
            return found
    except HFValidationError as error:
        raise UnknownBackbone(f"{backbone}: {repository!r} names no repository: {error}") from error
    except OSError:  # nothing of it is in the cache
        pass
    reason: str | None
    if offline:
        reason = _FORBIDDEN
    elif constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
    else:
        reason = _unreachable(constants.ENDPOINT)
    if reason is None:
        try:
            for patterns in choices:
                if found := fetch(patterns, local=False):
                    return found
            reason = "the repository does not hold all that is needed"
        except Exception as error:  # the hub's library and what it stands on share no public root
            reason = str(error)
    at = f" --revision {revision}" if revision else ""
    cache = constants.HF_HUB_CACHE
    raise WeightsMissing(
        f"the weights of {backbone} are not in {cache}, and cannot be "
        f"downloaded: {reason}. Run where there is a network: hf download {repository}{at}; or "
        "name a copy of them as `weights` in the catalogue file"
    )


def _unreachable(url: str) -> str | None:
    """Say why a server does not answer; None if it does, whatever it says."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - a library's own, https
    try:
        with urllib.request.build_opener().open(request, timeout=ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError:
        return None
    except OSError as error:
        return f"{urlparse(url).netloc} does not answer: {error}"

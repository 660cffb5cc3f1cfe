"""The one place that loads with the `datasets` library: data sets of the hub, and local directories of their layout.

`datasets` is imported inside the functions: it takes seconds, and most corpora do not need it. What it raises is not part of
its interface (the errors come from Arrow, the file systems and whichever HTTP client it uses), so each of its calls turns any
exception into the sentence that the user can act on.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from scalesweep.errors import DataError
from scalesweep.train.data.reading import Row

CONNECT_SECONDS = 10.0
"""The first question to the hub is asked once, without retries, so that a machine without a network learns it in seconds."""


def hub_rows(
    name: str,
    *,
    split: str,
    cache: Path,
    subset: str | None = None,
    revision: str | None = None,
    streaming: bool = True,
    data_files: str | None = None,
) -> Iterator[Row]:
    """Rows of a data set of the hub; with HF_HUB_OFFLINE set, of a copy that was downloaded before.

    Raises:
        DataError: the hub cannot be reached, or has no such data set, subset, split or revision.
    """
    from datasets import load_dataset

    try:
        yield from load_dataset(
            name,
            subset,
            data_files=data_files,
            split=split,
            revision=revision,
            streaming=streaming,
            cache_dir=str(cache / "datasets"),
        )
    except Exception as error:
        raise _unreachable(name, error) from None


def resolve_commit(name: str, revision: str | None) -> str | None:
    """The commit that `revision` (by default the newest) names now, or `revision` itself when HF_HUB_OFFLINE is set.

    Raises:
        DataError: the hub cannot be reached, or has no such data set or revision.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return revision
    try:
        return ask_commit(name, revision)
    except Exception as error:
        raise _unreachable(name, error) from None


def ask_commit(name: str, revision: str | None) -> str | None:
    """The commit that `revision` names, asked of the hub once; raises what the library raises."""
    from huggingface_hub import HfApi

    commit: str | None = HfApi().dataset_info(name, revision=revision, timeout=CONNECT_SECONDS).sha
    return commit


def first_line(error: BaseException) -> str:
    """The first line of what a library says of its error, without the final stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _unreachable(name: str, error: Exception) -> DataError:
    if isinstance(error, ValueError):  # it was reached, and has no such split, subset or name
        return DataError(f"data.name={name!r} could not be loaded: {first_line(error)}.")
    if Path(name).is_dir():
        return DataError(f"data.name={name!r} is a directory that datasets cannot load: {first_line(error)}; try data=files.")
    offline = os.environ.get("HF_HUB_OFFLINE")
    remedy = "unset HF_HUB_OFFLINE" if offline else "set HF_HUB_OFFLINE=1 to use a copy that was downloaded before"
    return DataError(
        f"data.name={name!r} could not be reached: {first_line(error)}; use data=files with data.paths=[...], or {remedy}."
    )

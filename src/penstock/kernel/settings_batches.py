"""Files and batches: what is kept, how much, and how fast it is worked off."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.kernel.settings_types import Positive, doc


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of requests that are answered within a day."""

    max_lines: Annotated[Positive, doc("Requests in one batch at most.")] = 10_000
    concurrency: Annotated[Positive, doc("Requests of one batch under way at one time at most.")] = 4
    running: Annotated[Positive, doc("Batches one process works on at one time at most.")] = 4
    open_per_project: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)], doc("Unfinished batches of one project at most.")
    ] = 50
    files_per_project: Annotated[
        Annotated[int, Meta(ge=1, le=1_000)], doc("Files that one project may have uploaded at one time.")
    ] = 500
    bytes_per_project: Annotated[
        Positive, doc("Bytes of all files of one project from which on none is taken.")
    ] = 16 * 1024**3
    kept_days: Annotated[Positive, doc("Days after which files and finished batches are forgotten.")] = 30

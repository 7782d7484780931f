"""Files and folders → batches of documents, as `penstock index add` sends them.

Promise: hidden files and links below a folder are left out; what cannot be read is told, never skipped in silence.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid

BATCH_BYTES: Final = 4 << 20
"""Files of one call; a larger one goes alone, as it is."""
BATCH_FILES: Final = 500
FILES_MOST: Final = 100_000


class Failed(msgspec.Struct, frozen=True):
    """A file that is not in the collection as it is on disk."""

    document: str
    code: str
    message: str


class File(msgspec.Struct, frozen=True):
    """A file to be sent, under the id it has in the collection."""

    id: str
    content: bytes


def files_of(paths: Sequence[Path], unread: list[Failed]) -> Iterator[File]:
    """Yield the files at and below the paths; what cannot be read is put into `unread`. Raises Invalid for too many."""
    count = 0
    for path in (each for given in paths for each in _below(given)):
        count += 1
        if count > FILES_MOST:
            raise Invalid("These are too many files.", field="paths", limit=FILES_MOST)
        try:
            content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        except OSError as error:
            unread.append(Failed(str(path), "unreadable", error.strerror or "It cannot be read."))
            continue
        yield File("stdin.txt" if str(path) == "-" else path.as_posix(), content)


def _below(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return (path,)
    return (
        each
        for each in sorted(path.rglob("*"))
        if each.is_file()
        and not each.is_symlink()
        and not any(part.startswith(".") for part in each.relative_to(path).parts)
    )


def batches(files: Iterable[File]) -> Iterator[list[File]]:
    """Gather files for one call each."""
    batch: list[File] = []
    size = 0
    for file in files:
        if batch and (size + len(file.content) > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += len(file.content)
    if batch:
        yield batch

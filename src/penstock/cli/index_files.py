"""Files and folders → batches of documents, as `penstock index add` sends them.

Promise: hidden files and links below a folder are left out; what cannot be read is told, never skipped in silence.
"""

from __future__ import annotations

import os
import stat
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
    for path in (each for given in paths for each in _below(given, unread)):
        count += 1
        if count > FILES_MOST:
            raise Invalid("These are too many files.", field="paths", limit=FILES_MOST)
        try:
            content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        except OSError as error:
            unread.append(_unreadable(error, path))
            continue
        yield File("stdin.txt" if str(path) == "-" else path.as_posix(), content)


def _below(path: Path, unread: list[Failed]) -> Iterable[Path]:
    """Return a path that is no folder, else the plain files below it; folders that cannot be read go into `unread`."""
    if not _is_folder(path):
        return (path,)
    found: list[Path] = []
    for folder, folders, names in os.walk(
        path, onerror=lambda error: unread.append(_unreadable(error, path))
    ):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(filter(_is_plain, found))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # whoever reads it learns why it cannot be read


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return True  # likewise


def _unreadable(error: OSError, path: Path) -> Failed:
    return Failed(str(error.filename or path), "unreadable", error.strerror or "It cannot be read.")


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

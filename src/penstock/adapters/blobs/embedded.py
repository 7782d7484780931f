"""Blobs in files of one folder, for one process.

    folder/t.<tenant>/objects/ab/<digest>     the bytes, named by their SHA-256
                     /names/<escaped name>    a pointer: the digest of what the name is bound to
                     /temp/                   what is being written

Promises: the port's (`ports/blobs.py`). Bytes are written beside, forced onto the disk, then renamed: a blob or a
pointer is there whole or not at all, also after a power cut. `name` and `expire` exclude each other where it matters,
so a blob is never removed between being stored and being named. Tenant and name are escaped into plain file names
(every byte but A-Z a-z 0-9 _ . - ~), so neither can leave its folder.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import sha256
from heapq import nsmallest
from pathlib import Path
from threading import Lock
from typing import TypeVar
from urllib.parse import quote, unquote

from penstock.kernel.clock import Clock
from penstock.kernel.errors import Broken, Invalid, NotFound, Unavailable
from penstock.kernel.ids import new_id

MAX_BLOB_BYTES = 256 << 20
MAX_NAME_BYTES = 1024
MAX_TENANT_BYTES = 64
MAX_PAGE = 10_000

_PIECE = 200
"""Characters of an escaped name in one file name; a longer one goes on in a folder (marked by ``=``) of the next."""
_DIGEST = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


def _tenant_folder(tenant: str) -> str:
    size = len(tenant.encode(errors="replace"))
    if not 1 <= size <= MAX_TENANT_BYTES or "\0" in tenant:
        raise Invalid("This is not a tenant.", field="tenant", value=tenant[:100], limit=MAX_TENANT_BYTES)
    return "t." + _escaped("tenant", tenant)


def _escaped(field: str, text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise Invalid("This is not Unicode.", field=field, value=ascii(text[:100])) from None


def _name_path(name: str) -> Path:
    """Return where the pointer of a name lies, or raise Invalid for a name that could be anything else."""
    remedy = (
        "Use 1 to 1,024 bytes such as reports/2026/may.csv: no empty, '.' or '..' part, no NUL, not a digest."
    )
    parts = name.split("/")
    if (
        len(name.encode(errors="replace")) > MAX_NAME_BYTES
        or not all(parts)
        or {".", ".."} & set(parts)
        or "\0" in name
        or _DIGEST.fullmatch(name)
    ):
        raise Invalid(
            "This name is refused.", field="name", value=name[:200], limit=MAX_NAME_BYTES, remedy=remedy
        )
    text = _escaped("name", name)
    pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
    return Path(*(piece + "=" for piece in pieces[:-1]), pieces[-1] + "+")


def _names_below(folder: Path, escaped: str = "", wanted: str = "") -> Iterator[tuple[str, Path]]:
    """Yield (name, its pointer) of every name, in no order. Most that do not begin with the escaped text `wanted` are
    left out, before they cost more than a look.
    """
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            name = escaped + entry.name[:-1]
            if not name.startswith(wanted) and not wanted.startswith(name):
                continue
            if entry.name.endswith("="):
                yield from _names_below(Path(entry.path), name, wanted)
            elif entry.name.endswith("+"):
                yield unquote(name), Path(entry.path)


def _force(folder: Path) -> None:
    """Force what a folder lists onto the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FileBlobs:
    """Immutable bytes by digest and by name, in files."""

    def __init__(self, folder: Path, clock: Clock, *, max_bytes: int = MAX_BLOB_BYTES) -> None:
        """Keep blobs of at most `max_bytes` in `folder`, which is made when first written to."""
        self._folder = folder
        self._clock = clock
        self._max_bytes = max_bytes
        self._life = new_id("w")
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="blobs")
        self._order = Lock()
        """Held where storing, naming and expiring decide about the same file; never while bytes are moved."""
        self._naming: list[str] = []
        """Digests being named right now."""
        self._sweeps: list[set[str]] = []
        """One set per expiry under way: digests that were being named at any time since it began."""
        self._sound = True

    # ------------------------------------------------------------------------------------------------- the verbs

    async def put(self, tenant: str, value: bytes) -> str:
        """Store bytes; returns their SHA-256 as 64 hexadecimal digits."""
        return await self._run(self._put, tenant, value, None)

    async def name(self, tenant: str, name: str, value: bytes) -> str:
        """Store bytes and bind `name` to them; returns the digest."""
        return await self._run(self._put, tenant, value, name)

    async def unname(self, tenant: str, name: str) -> bool:
        """End a name; False when there was none."""
        return await self._run(self._unname, tenant, name)

    async def get(self, tenant: str, digest_or_name: str) -> bytes:
        """Return the bytes of a digest (64 hexadecimal digits) or of a name, verified."""
        return await self._run(self._get, tenant, digest_or_name)

    async def list(
        self, tenant: str, prefix: str = "", *, after: str = "", limit: int = 1000
    ) -> Sequence[str]:
        """Return up to `limit` (at most 10,000) names that start with `prefix`, after the name `after`, in order."""
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid("limit is out of bounds.", field="limit", value=limit, limit=MAX_PAGE)
        return await self._run(self._list, tenant, prefix, after, limit)

    async def expire(self, tenant: str, before_s: float) -> tuple[int, int]:
        """Remove unnamed blobs last written before the wall time `before_s`; returns (count, bytes)."""
        return await self._run(self._expire, tenant, before_s)

    async def healthy(self) -> bool:
        """Tell whether the disk took the last thing it was given."""
        return self._sound

    async def close(self) -> None:
        """Let go of the threads; what is under way is finished."""
        self._threads.shutdown(wait=False)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        """Run file work on a thread, the system's errors translated."""
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except OSError as error:
            self._sound = False
            remedy = "Free space or check the disk."
            raise Unavailable(f"The blobs' disk refused: {error.strerror}.", remedy=remedy) from error
        self._sound = True
        return result

    # -------------------------------------------------------------------------------------------------- on a thread

    def _put(self, tenant: str, value: bytes, name: str | None) -> str:
        place = self._folder / _tenant_folder(tenant)
        pointer = place / "names" / _name_path(name) if name is not None else None
        if len(value) > self._max_bytes:
            raise Invalid("The blob is too large.", field="value", value=len(value), limit=self._max_bytes)
        digest = sha256(value).hexdigest()
        target = place / "objects" / digest[:2] / digest
        if pointer is None:
            self._store(place, value, target)
        else:
            with self._spared(digest):
                self._store(place, value, target)
                self._write(place, digest.encode(), pointer)
        return digest

    @contextmanager
    def _spared(self, digest: str) -> Generator[None]:
        """Keep every expiry, under way or beginning meanwhile, from removing a blob that is being named."""
        with self._order:
            self._naming.append(digest)
            for spared in self._sweeps:
                spared.add(digest)
        try:
            yield
        finally:
            with self._order:
                self._naming.remove(digest)

    def _store(self, place: Path, value: bytes, target: Path) -> None:
        """Make sure that the blob is there, whole, and as young as now."""
        with suppress(FileNotFoundError):
            if target.read_bytes() == value:  # a damaged one is written again
                with self._order:
                    now_s = self._clock.wall_s()
                    os.utime(target, (now_s, now_s))
                    return
        self._write(place, value, target)

    def _write(self, place: Path, value: bytes, target: Path) -> None:
        """Write a file so that it is there whole or not at all, whenever the power goes."""
        temp = place / "temp" / f"{self._life}.{new_id('b')}"
        temp.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temp.open("xb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            now_s = self._clock.wall_s()
            os.utime(temp, (now_s, now_s))
            temp.rename(target)
        except BaseException:  # because half a file must not stay, whatever stopped it
            temp.unlink(missing_ok=True)
            raise
        _force(target.parent)

    def _unname(self, tenant: str, name: str) -> bool:
        pointer = self._folder / _tenant_folder(tenant) / "names" / _name_path(name)
        try:
            pointer.unlink()
        except FileNotFoundError:
            return False
        _force(pointer.parent)
        return True

    def _get(self, tenant: str, digest_or_name: str) -> bytes:
        place = self._folder / _tenant_folder(tenant)
        if _DIGEST.fullmatch(digest_or_name):
            return self._read(place, digest_or_name)
        pointer = place / "names" / _name_path(digest_or_name)
        for _ in range(
            10
        ):  # a name may be bound anew, and what it was bound to expire, between the two reads
            digest = self._bound(pointer, digest_or_name)
            try:
                return self._read(place, digest)
            except NotFound:
                if self._bound(pointer, digest_or_name) == digest:
                    raise Broken(f"The blob behind the name {digest_or_name!r} is gone.") from None
        raise Unavailable(f"The name {digest_or_name!r} is bound anew too often to be read.")

    def _bound(self, pointer: Path, name: str) -> str:
        try:
            digest = pointer.read_text("ascii", "replace")
        except FileNotFoundError:
            raise NotFound("There is no blob of that name.", field="name", value=name[:200]) from None
        if not _DIGEST.fullmatch(digest):
            raise Broken(f"The pointer of the name {name!r} changed on disk.")
        return digest

    def _read(self, place: Path, digest: str) -> bytes:
        try:
            value = (place / "objects" / digest[:2] / digest).read_bytes()
        except FileNotFoundError:
            raise NotFound("There is no blob of that digest.", field="digest", value=digest) from None
        if sha256(value).hexdigest() != digest:
            raise Broken(f"The blob {digest} changed on disk since it was written.")
        return value

    def _list(self, tenant: str, prefix: str, after: str, limit: int) -> list[str]:
        wanted = quote(prefix, safe="", errors="replace")
        names = _names_below(self._folder / _tenant_folder(tenant) / "names", wanted=wanted)
        return nsmallest(limit, (name for name, _ in names if name > after and name.startswith(prefix)))

    def _expire(self, tenant: str, before_s: float) -> tuple[int, int]:
        place = self._folder / _tenant_folder(tenant)
        with self._order:
            spared = set(self._naming)
            self._sweeps.append(spared)
        try:
            named = {pointer.read_text("ascii", "replace") for _, pointer in _names_below(place / "names")}
            count = size = 0
            for blob in (place / "objects").glob("??/*"):
                if blob.name not in named:
                    removed = self._removed(blob, before_s, spared)
                    count, size = count + (removed >= 0), size + max(0, removed)
        finally:
            with self._order:
                self._sweeps = [sweep for sweep in self._sweeps if sweep is not spared]
        for left in (place / "temp").glob("*"):
            if not left.name.startswith(self._life):  # a crash of an earlier life
                self._removed(left, before_s, spared)
        return count, size

    def _removed(self, file: Path, before_s: float, spared: set[str]) -> int:
        """Remove a file that is older than `before_s` and not spared; returns its bytes, -1 when it stays."""
        with self._order, suppress(FileNotFoundError):  # another expiry may be at it too
            facts = file.stat()
            if facts.st_mtime < before_s and file.name not in spared:
                file.unlink()
                return facts.st_size
        return -1

"""Tables by DuckDB and Parquet. The engine lives in a helper process per job: the gateway never loads it.

    pack, merge, ask ──▶ a private folder with the files ──▶ `worker.py` (isolated, no environment) ──▶ what came of it

Promises, on top of the port's (`ports/tables.py`): no two jobs share a process, so nothing of one tenant's question is
left when another's begins; a job that is given up is killed; at most `at_once` run, the others wait; the folder goes
with the job, and what a crash left of one goes at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from penstock.adapters.tables.columns import COLUMNS, DERIVED
from penstock.kernel.errors import Invalid, Unavailable
from penstock.kernel.ids import new_id
from penstock.ports.tables import (
    RECORDS_MOST,
    SQL_BYTES_MOST,
    Answer,
    Bounds,
    Packed,
    Part,
    Piece,
)

WORKER: Final = Path(__file__).with_name("worker.py")
HOUR_S: Final = 3_600
WORK_TIME_S: Final = 600.0
"""What packing or merging may take."""
WORK_MEMORY: Final = 512 << 20
SAID_BYTES: Final = 2_000
"""So much of what the engine says is told."""
TOO_MUCH = "Ask for fewer days, rows or columns."


class _Failure(msgspec.Struct, frozen=True):
    error: str = ""
    text: str = ""


class _Packed(msgspec.Struct, frozen=True):
    whole: int
    groups: tuple[tuple[str, int, int], ...]


class _Merged(msgspec.Struct, frozen=True):
    pieces: int


class _Found(msgspec.Struct, frozen=True):
    shape: tuple[tuple[str, str], ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool


_Made = TypeVar("_Made", _Packed, _Merged, _Found)


class DuckDbTables:
    """Tables by DuckDB, one helper process per job."""

    def __init__(self, folder: Path, *, threads: int = 2, at_once: int = 2) -> None:
        """Work in `folder`, this object's own; `threads` per job. Raises ModuleNotFoundError without DuckDB."""
        if find_spec("duckdb") is None:
            raise ModuleNotFoundError("No module named 'duckdb'", name="duckdb")
        self._folder = folder
        self._threads = threads
        self._turns = asyncio.Semaphore(at_once)
        self._sound = True
        shutil.rmtree(folder, ignore_errors=True)

    async def healthy(self) -> bool:
        """Tell whether the engine did what it was last asked for."""
        return self._sound

    async def close(self) -> None:
        """Let go of the folder; jobs under way fail."""
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    # ------------------------------------------------------------------------------------------------- the verbs

    async def pack(self, records: Sequence[bytes], known: Sequence[bytes] = ()) -> Packed:
        """Pack JSON records (1 to 50,000); those in `known` were packed before."""
        if not 1 <= len(records) <= RECORDS_MOST:
            raise Invalid("Too many records.", field="records", value=len(records), limit=RECORDS_MOST)
        async with self._job() as place:
            await asyncio.to_thread(_write_lines, place / "records", records)
            await asyncio.to_thread(_write_lines, place / "known", known)
            made = await self._made(place, _Packed, verb="pack", values=", ".join(c.value for c in COLUMNS))
            parts = await asyncio.to_thread(_parts, place, made.groups)
        packed = sum(part.rows for part in parts)
        return Packed(parts=parts, repeated=made.whole - packed, rejected=len(records) - made.whole)

    async def merge(self, files: AsyncIterable[bytes], *, flags: Sequence[str] = ()) -> AsyncIterator[Piece]:
        """Merge files into few of about 32 MiB; yields nothing when no row is left."""
        async with self._job() as place:
            names = await _written(place, files, most_bytes=None)
            made = await self._made(place, _Merged, verb="merge", files=names, flags=list(flags))
            pieces = sorted(
                (place / "merged").glob("*.parquet"), key=lambda path: (len(path.name), path.name)
            )
            for number, path in enumerate(pieces, 1):
                yield Piece(number=number, of=made.pieces, value=await asyncio.to_thread(path.read_bytes))

    async def ask(self, files: AsyncIterable[bytes], sql: str, bounds: Bounds) -> Answer:
        """Answer one SELECT over the files, and EXPLAIN one."""
        if not 1 <= len(sql.encode(errors="replace")) <= SQL_BYTES_MOST:
            raise Invalid("This is no question.", field="sql", value=len(sql), limit=SQL_BYTES_MOST)
        async with self._job() as place:
            names = await _written(place, files, most_bytes=bounds.files_bytes)
            found = await self._made(
                place,
                _Found,
                verb="ask",
                time_s=bounds.time_s,
                files=names,
                sql=sql,
                derived=", ".join(DERIVED),
                rows=bounds.rows,
                answer_bytes=bounds.answer_bytes,
                memory_bytes=bounds.memory_bytes,
            )
        columns, types = zip(*found.shape, strict=True) if found.shape else ((), ())
        return Answer(columns=columns, types=types, rows=found.rows, truncated=found.truncated)

    # ------------------------------------------------------------------------------------------------ the process

    @asynccontextmanager
    async def _job(self) -> AsyncGenerator[Path]:
        """Wait for a turn, and give a folder that goes with the job."""
        async with self._turns:
            place = self._folder / new_id("job_")
            try:
                await asyncio.to_thread(place.mkdir, parents=True, mode=0o700)
                yield place
            except OSError as error:
                self._sound = False
                raise Unavailable(f"The tables' disk refused: {error.strerror}.") from error
            finally:
                await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _made(
        self, place: Path, kind: type[_Made], *, verb: str, time_s: float = WORK_TIME_S, **job: object
    ) -> _Made:
        """Run the helper on a job and return what it made, its failures translated."""
        columns = [(c.name, c.type, c.json_type, c.default) for c in COLUMNS]
        always = {"verb": verb, "columns": columns, "threads": self._threads, "time_s": time_s}
        job = {**always, "memory_bytes": WORK_MEMORY, **job}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(WORKER)), cwd=place, env={}, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            async with asyncio.timeout(time_s):
                said, complained = await process.communicate(msgspec.json.encode(job))
        except TimeoutError:
            raise Invalid(
                "The question takes too long.",
                code="query_too_slow",
                field="sql",
                limit=time_s,
                remedy=TOO_MUCH,
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if process.returncode and not said:  # a signal ended it: the kernel's word on memory
            last_words = complained.decode(errors="replace")[-SAID_BYTES:]
            said = msgspec.json.encode(_Failure("too_large" if process.returncode < 0 else "io", last_words))
        return self._read(said, kind, verb)

    def _read(self, said: bytes, kind: type[_Made], verb: str) -> _Made:
        failure = msgspec.json.decode(said, type=_Failure)
        self._sound = verb == "ask" or not failure.error
        if not failure.error:
            return msgspec.json.decode(said, type=kind)
        text = failure.text[:SAID_BYTES]
        if verb != "ask" or failure.error == "io":
            raise Unavailable(f"The tables' engine failed: {text}", code="tables_failed")
        if failure.error == "too_large":
            raise Invalid(
                "The question takes too much memory.", code="query_too_large", field="sql", remedy=TOO_MUCH
            )
        raise Invalid(text, code="query_invalid", field="sql")


def _write_lines(path: Path, records: Sequence[bytes]) -> None:
    """Write records a line each; within JSON a line's end is a blank like any other."""
    with path.open("wb") as file:
        file.writelines(record.replace(b"\n", b" ") + b"\n" for record in records)


async def _written(place: Path, files: AsyncIterable[bytes], *, most_bytes: int | None) -> list[str]:
    """Write files into the job's folder, one at a time; returns their names."""
    names: list[str] = []
    size = 0
    async for value in files:
        size += len(value)
        if most_bytes is not None and size > most_bytes:
            raise Invalid(
                "The days asked for hold too much.",
                code="query_too_large",
                field="days",
                limit=most_bytes,
                remedy=TOO_MUCH,
            )
        names.append(f"in{len(names)}.parquet")
        await asyncio.to_thread((place / names[-1]).write_bytes, value)
    return names


def _parts(place: Path, groups: Sequence[tuple[str, int, int]]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for number, (org, hour_of, rows) in enumerate(groups):
        began = datetime.fromtimestamp(hour_of * HOUR_S, UTC)
        value = (place / f"{number}.parquet").read_bytes()
        parts.append(Part(org=org, day=f"{began:%Y-%m-%d}", hour=began.hour, rows=rows, value=value))
    return tuple(parts)

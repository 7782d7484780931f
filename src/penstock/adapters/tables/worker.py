"""The helper process of DuckDbTables: one job, then gone. It reads the job from stdin and writes what came of it.

It imports nothing of ours, so that it starts fast, and is run isolated (``python -I``) with an empty environment in a
folder of its own. Promises: a question sees the view ``audit`` and nothing else. DuckDB is told so (no external access,
configuration locked, one SELECT), and so is the kernel, once the files are known: no file may grow (RLIMIT_FSIZE 0)
and memory has an end (RLIMIT_AS). A helper whose parent was killed ends by itself: its processor time has an end too.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, cast

import duckdb

Job = dict[str, Any]
Connection = duckdb.DuckDBPyConnection

AS_SLACK_BYTES = 3 << 30
"""Address space on top of the memory limit: code, stacks and reserves that are never touched."""
PIECE_BYTES = 32 << 20
HARDENED = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET allow_persistent_secrets = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
LATEST_S = 253_402_300_799
"""The last second of the year 9999."""


class Refused(Exception):
    """The job cannot be done; its text is for whoever asked, its code says why."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def connected(job: Job, temp: str) -> Connection:
    """Open an engine in memory that may spill into `temp` ("" for nowhere)."""
    config = {
        "threads": job["threads"],
        "memory_limit": f"{job['memory_bytes']}B",
        "temp_directory": temp,
    }
    return duckdb.connect(":memory:", config=config)


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def rows_sql(engine: Connection, job: Job) -> str:
    """Return the SELECT of all rows of the job's files. What a file lacks has its default."""
    files, columns = job["files"], job["columns"]
    if not files:
        empty = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind, _, _ in columns)
        return f"SELECT {empty} WHERE false"
    listed = f"[{', '.join(map(quoted, files))}]"
    counted = engine.execute(
        f"SELECT name, count(*) FROM parquet_schema({listed}) GROUP BY name"  # noqa: S608 the file names are quoted
    ).fetchall()
    holding = dict(counted)
    told_of = ", ".join(
        f'"{name}"'
        if holding.get(name, 0) >= len(files)
        else f'coalesce("{name}", {default}) AS "{name}"'
        if name in holding
        else f'CAST({default} AS {kind}) AS "{name}"'
        for name, kind, _, default in columns
    )
    return f"SELECT {told_of} FROM read_parquet({listed}, union_by_name = true)"  # noqa: S608 columns are ours, files quoted


# ------------------------------------------------------------------------------------------------------------- pack


def pack(job: Job) -> Job:
    """Write ``<n>.parquet`` per organisation, day and hour of the lines in ``records``."""
    engine = connected(job, "temp")
    read = {name: read_as for name, _, read_as, _ in job["columns"]}
    lines = "read_json($1, format = 'newline_delimited', ignore_errors = true, columns = $2)"
    engine.execute(f"CREATE TABLE seen AS SELECT DISTINCT request_id FROM {lines}", ["known", read])  # noqa: S608 `lines` is constant
    engine.execute(
        f"CREATE TABLE kept AS SELECT *, row_number() OVER () AS place FROM {lines} "  # noqa: S608 `lines` is the constant above
        f"WHERE request_id <> '' AND at_s BETWEEN 0 AND {LATEST_S}",
        ["records", read],
    )
    (whole,) = one(engine, "SELECT count(*) FROM kept")
    engine.execute(
        f"CREATE TABLE fresh AS SELECT {job['values']}, "  # noqa: S608 the values are the adapter's constants
        "CAST(floor(at_s / 3600) AS BIGINT) AS hour_of FROM (SELECT * FROM kept ANTI JOIN seen USING (request_id) "
        "QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY place) = 1)"
    )
    counted = "SELECT org, hour_of, count(*) FROM fresh GROUP BY ALL ORDER BY org, hour_of"
    groups = engine.execute(counted).fetchall()
    for number, (org, hour_of, _) in enumerate(groups):
        engine.execute(
            "COPY (SELECT * EXCLUDE (hour_of) FROM fresh "  # noqa: S608 because both values are quoted or counted
            f"WHERE org = {quoted(org)} AND hour_of = {hour_of} ORDER BY at_s, request_id) "
            f"TO '{number}.parquet' (FORMAT parquet, COMPRESSION zstd)"
        )
    return {"whole": whole, "groups": groups}


def one(engine: Connection, sql: str) -> tuple[Any, ...]:
    """Return the only row."""
    return engine.execute(sql).fetchone() or ()


# ------------------------------------------------------------------------------------------------------------ merge


def merge(job: Job) -> Job:
    """Write the rows of all files, each once, into ``merged/…``; by time, a file being about `PIECE_BYTES`."""
    engine = connected(job, "temp")
    source = f"({rows_sql(engine, job)})"
    if job["flags"]:
        source += f" WHERE list_has_any(flags, [{', '.join(map(quoted, job['flags']))}])"
    ids = f"SELECT count(*), count(DISTINCT request_id) FROM {source}"  # noqa: S608 `source` quotes every file and flag
    rows, distinct = one(engine, ids)
    if rows != distinct:
        source += " QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY at_s) = 1"
    if rows:
        engine.execute(
            f"COPY (SELECT * FROM {source} ORDER BY at_s, request_id) "  # noqa: S608 `source` quotes every file and flag
            f"TO 'merged' (FORMAT parquet, COMPRESSION zstd, FILE_SIZE_BYTES {PIECE_BYTES})"
        )
    return {"pieces": len(list(Path("merged").glob("*.parquet")))}


# -------------------------------------------------------------------------------------------------------------- ask


def ask(job: Job) -> Job:
    """Answer one SELECT over the view ``audit``."""
    engine = connected(job, "")
    view = f"SELECT *, {job['derived']} FROM ({rows_sql(engine, job)})"  # noqa: S608 derived columns are constants, files quoted
    engine.execute(f"CREATE VIEW audit AS {view}")
    engine.execute(f"SET allowed_paths = [{', '.join(map(quoted, job['files']))}]")
    for line in HARDENED:
        engine.execute(line)
    shut(job)
    statements = engine.extract_statements(job["sql"])
    if len(statements) != 1 or statements[0].type not in {
        duckdb.StatementType.SELECT,
        duckdb.StatementType.EXPLAIN,
    }:
        raise Refused("not_a_question", "Ask exactly one SELECT.")
    found = engine.execute(statements[0])
    shape = [(column[0], str(column[1])) for column in found.description or ()]
    rows: list[list[Any]] = []
    size = 0
    for row in each(found):
        plain = [told(value) for value in row]
        size += len(json.dumps(plain))
        if len(rows) == job["rows"] or size > job["answer_bytes"]:
            return {"shape": shape, "rows": rows, "truncated": True}
        rows.append(plain)
    return {"shape": shape, "rows": rows, "truncated": False}


def shut(job: Job) -> None:
    """Let the kernel refuse what a question has no need of."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    room = job["memory_bytes"] + AS_SLACK_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (room, room))


def each(found: Connection) -> Iterator[tuple[Any, ...]]:
    """Yield rows a few at a time."""
    while batch := found.fetchmany(256):
        yield from batch


def told(value: object) -> object:
    """Return a value as JSON has it."""
    if isinstance(value, float):
        return value if value - value == 0 else None  # neither NaN nor infinite
    if isinstance(value, (list, tuple)):
        return [told(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        members = cast("dict[object, object]", value)
        return {str(name): told(item) for name, item in members.items()}
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


VERBS: dict[str, Callable[[Job], Job]] = {"pack": pack, "merge": merge, "ask": ask}


def main() -> None:
    """Do the job on stdin."""
    os.nice(5)  # requests go first
    job = json.loads(sys.stdin.buffer.read())
    cpu_s = (math.ceil(job["time_s"]) + 1) * job["threads"]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    try:
        made = VERBS[job["verb"]](job)
    except Refused as error:
        made = {"error": error.code, "text": str(error)}
    except (duckdb.OutOfMemoryException, MemoryError):
        made = {"error": "too_large", "text": "It takes more memory than it may."}
    except duckdb.IOException as error:
        made = {"error": "io", "text": str(error)}
    except duckdb.Error as error:
        made = {"error": "sql", "text": str(error)}
    sys.stdout.buffer.write(json.dumps(made).encode())


if __name__ == "__main__":
    main()

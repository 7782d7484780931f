"""What `PostgresIndex` says to PostgreSQL: every statement by name, and the table of errors.

Text that callers choose is kept as its UTF-8 bytes: `bytea` is equal and ordered byte by byte whatever the database's
collation, and holds the NUL that `text` refuses. Every name starts with ``index_``. No value enters the text of a
statement; what does enter it are numbers and names of ours (`dimensions`, a room's number, a column).

    index_rooms       one for each tenant, collection and space: what a search is confined to
    index_documents   what a document says of itself, once
    index_chunks      its chunks, in 16 parts by room. `terms` are its words, `facts` what it can be filtered by (labels
                      too), both as hashes that hold the room's number: neither index is ever read across two tenants
    index_graph_N     the HNSW graph of room N alone, made by `compact` when the room is large
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

from typing import Final

import asyncpg

from penstock.adapters import postgres_faults
from penstock.kernel.errors import Invalid, PenstockError

SCHEMA_VERSION: Final = 1
MIGRATION_LOCK: Final = 0x696E6465785F5F21  # "index__!"
"""Whoever holds this advisory lock may change the schema."""
COMPACT_LOCK: Final = MIGRATION_LOCK + 1
"""Whoever holds this one makes graphs and frees the disk."""
PARTS: Final = 16

_TERMS: Final = """
    SELECT coalesce(array_agg(w.term), '{{}}') AS terms, coalesce(array_agg(w.times), '{{}}') AS times FROM (
        SELECT hashtextextended(u.word, $1) AS term, least(count(*), 32767)::smallint AS times
        FROM unnest(string_to_array(c.words, ' ')) AS u (word) GROUP BY u.word
        UNION ALL
        SELECT hashtextextended(c.reading || ' ' || t.lexeme, $1), cardinality(t.positions)::smallint
        FROM unnest(to_tsvector(c.reading::regconfig, c.stemmed)) AS t WHERE c.reading <> 'simple'
    ) AS w
"""
"""The terms of a chunk `c` of room $1: each word, and each stem under the name of its language. Part of a template."""


class Sql:
    """Every statement, by name, but for the questions of postgres_questions.py."""

    lock = f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    offered = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"
    installed = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
    install = "CREATE EXTENSION vector"
    home = """
        SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector'
    """
    make_versions = "CREATE TABLE IF NOT EXISTS index_schema (version integer NOT NULL)"
    schema_version = "SELECT max(version) FROM index_schema"
    # MAIN keeps vectors in the row, where a scan reads them without a second look; it is the text that moves out.
    schema = """
        CREATE TABLE index_rooms (
            id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant bytea NOT NULL, collection bytea NOT NULL, space bytea NOT NULL,
            alive boolean NOT NULL DEFAULT true,      -- false: deleted, its rows wait to be swept
            dimensions integer NOT NULL DEFAULT 0,    -- 0: no vector has come yet
            graph boolean NOT NULL DEFAULT false,
            documents bigint NOT NULL DEFAULT 0, chunks bigint NOT NULL DEFAULT 0,
            labelled bigint NOT NULL DEFAULT 0,       -- chunks that not everybody may see
            words bigint NOT NULL DEFAULT 0, bytes bigint NOT NULL DEFAULT 0
        );
        CREATE UNIQUE INDEX index_rooms_alive ON index_rooms (tenant, collection, space) WHERE alive;
        CREATE TABLE index_documents (
            room integer NOT NULL, id bytea NOT NULL,
            version bytea NOT NULL, title bytea NOT NULL, url bytea NOT NULL, language bytea NOT NULL,
            labels bytea NOT NULL,    -- msgpack array
            metadata bytea NOT NULL,  -- msgpack map
            PRIMARY KEY (room, id)
        );
        CREATE TABLE index_chunks (
            room integer NOT NULL, document bytea NOT NULL, position integer NOT NULL,
            digest bytea NOT NULL, text bytea NOT NULL, tokens bytea NOT NULL,
            half halfvec NOT NULL,    -- what is searched; of length 1 where there is the whole one
            whole vector,             -- in full precision, where that is asked for
            starts bigint NOT NULL, ends bigint NOT NULL, page integer NOT NULL, heading bytea NOT NULL,
            terms bigint[] NOT NULL, times smallint[] NOT NULL,  -- how often each
            length integer NOT NULL, reading text NOT NULL,      -- in words, and how its stems were made
            facts bytea[] NOT NULL, names bytea[] NOT NULL, numbers float8[] NOT NULL,
            is_labelled boolean NOT NULL, bytes integer NOT NULL,
            PRIMARY KEY (room, document, position)
        ) PARTITION BY HASH (room);
        ALTER TABLE index_chunks ALTER half SET STORAGE MAIN, ALTER whole SET STORAGE MAIN,
            ALTER terms SET STORAGE MAIN, ALTER tokens SET STORAGE EXTERNAL;
        CREATE INDEX index_chunks_digest ON index_chunks (room, digest);
        CREATE INDEX index_chunks_found ON index_chunks USING gin (terms, facts);
        INSERT INTO index_schema (version) VALUES (1);
    """
    part = "CREATE TABLE index_chunks_{n} PARTITION OF index_chunks FOR VALUES WITH (MODULUS {of}, REMAINDER {n})"

    room = """
        SELECT id, dimensions, graph, documents, chunks, labelled, words, bytes FROM index_rooms
        WHERE tenant = $1 AND collection = $2 AND space = $3 AND alive
    """
    rooms = """
        SELECT id, dimensions, graph, documents, chunks, labelled, words, bytes FROM index_rooms
        WHERE tenant = $1 AND collection = $2 AND ($3 = '\\x'::bytea OR space = $3) AND alive ORDER BY id
    """
    add_room = """
        INSERT INTO index_rooms (tenant, collection, space) VALUES ($1, $2, $3)
        ON CONFLICT (tenant, collection, space) WHERE alive DO NOTHING
    """
    # Last in a transaction, so that puts into one room wait for each other only while they commit.
    change_room = """
        UPDATE index_rooms SET documents = documents + $2, chunks = chunks + $3, labelled = labelled + $4,
            words = words + $5, bytes = bytes + $6,
            dimensions = CASE WHEN dimensions = 0 THEN $7 ELSE dimensions END
        WHERE id = $1 AND alive RETURNING dimensions
    """
    drop_rooms = "UPDATE index_rooms SET alive = false WHERE id = ANY($1::integer[])"
    names = "SELECT count(DISTINCT id) FROM index_documents WHERE room = ANY($1::integer[])"

    # In one order by every transaction, so that two of them wait for each other rather than deadlock.
    add_documents = """
        WITH added AS (
            INSERT INTO index_documents
            SELECT $1, d.* FROM unnest(
                $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[]
            ) AS d ORDER BY 2
            ON CONFLICT DO NOTHING RETURNING 1
        ) SELECT count(*) FROM added
    """
    lock_documents = """
        SELECT id FROM index_documents WHERE room = $1 AND id = ANY($2::bytea[]) ORDER BY id FOR UPDATE
    """
    change_documents = """
        UPDATE index_documents AS o SET version = d.version, title = d.title, url = d.url,
            language = d.language, labels = d.labels, metadata = d.metadata
        FROM unnest(
            $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[]
        ) AS d (id, version, title, url, language, labels, metadata)
        WHERE o.room = $1 AND o.id = d.id
    """
    drop_documents = "DELETE FROM index_documents WHERE room = $1 AND id = ANY($2::bytea[])"
    drop_chunks = """
        WITH gone AS (
            DELETE FROM index_chunks WHERE room = $1 AND document = ANY($2::bytea[])
            RETURNING length, bytes, is_labelled
        )
        SELECT count(*), count(*) FILTER (WHERE is_labelled), coalesce(sum(length), 0)::bigint,
               coalesce(sum(bytes), 0)::bigint FROM gone
    """
    # One array a column: a batch is one message, however many rows it has. Lists within a row come as text.
    add_chunks = f"""
        WITH added AS (
            INSERT INTO index_chunks
            SELECT $1, c.document, c.position, c.digest, c.text, c.tokens, {{half}}, {{whole}},
                c.starts, c.ends, c.page, c.heading, t.terms, t.times,
                cardinality(string_to_array(c.words, ' ')), c.reading,
                d.facts::bytea[], d.names::bytea[], d.numbers::float8[], d.is_labelled, c.bytes
            FROM unnest(
                $2::bytea[], $3::integer[], $4::bytea[], $5::bytea[], $6::bytea[], $7::vector[],
                $8::bigint[], $9::bigint[], $10::integer[], $11::bytea[], $12::integer[], $13::text[],
                $14::text[], $15::text[]
            ) AS c (document, position, digest, text, tokens, vector, starts, ends, page, heading, bytes,
                    words, stemmed, reading)
            JOIN unnest($16::bytea[], $17::text[], $18::text[], $19::text[], $20::boolean[])
                AS d (document, facts, names, numbers, is_labelled) USING (document)
            CROSS JOIN LATERAL ({_TERMS}) AS t
            RETURNING length
        ) SELECT coalesce(sum(length), 0)::bigint FROM added
    """  # noqa: S608 - nothing but this module's own text is put together
    known = """
        SELECT DISTINCT ON (digest) digest, coalesce(whole, half::vector) FROM index_chunks
        WHERE room = $1 AND digest = ANY($2::bytea[])
    """
    # As many as were asked for, or as fit into so many bytes, but at least one.
    scan = """
        WITH next AS MATERIALIZED (
            SELECT document, position, bytes FROM index_chunks
            WHERE room = $1 AND (document, position) > ($2, $3) ORDER BY document, position LIMIT $4
        ),
        fit AS (
            SELECT document, position, sum(bytes) OVER (ORDER BY document, position) - bytes AS before FROM next
        )
        SELECT {body} FROM fit AS f
        JOIN index_chunks AS c ON c.room = $1 AND c.document = f.document AND c.position = f.position
        JOIN index_documents AS d ON d.room = c.room AND d.id = c.document
        WHERE f.before < $5 ORDER BY c.document, c.position
    """

    # ----------------------------------------------------------------------------------------------- compact
    claim = f"SELECT pg_try_advisory_lock({COMPACT_LOCK})"
    dead = "SELECT id FROM index_rooms WHERE NOT alive AND id > $1 ORDER BY id LIMIT 100"
    sweep_chunks = """
        WITH gone AS (
            DELETE FROM index_chunks WHERE room = $1 AND (document, position) IN (
                SELECT document, position FROM index_chunks WHERE room = $1 LIMIT $2
            ) RETURNING 1
        ) SELECT count(*) FROM gone
    """
    sweep_documents = "DELETE FROM index_documents WHERE room = $1"
    forget_room = "DELETE FROM index_rooms WHERE id = $1"
    # A room that has fallen to half of what a graph is made for loses it again.
    due = """
        SELECT id, dimensions, chunks >= $2 FROM index_rooms
        WHERE alive AND id > $1 AND dimensions BETWEEN 1 AND $3 AND (
            (chunks >= $2 AND NOT graph) OR (chunks < $2 / 2 AND graph)
        ) ORDER BY id LIMIT 100
    """
    part_of = "SELECT c.tableoid::regclass::text FROM index_chunks AS c WHERE c.room = $1 LIMIT 1"
    drop_graph = "DROP INDEX CONCURRENTLY IF EXISTS index_graph_{room}"
    make_graph = """
        CREATE INDEX CONCURRENTLY index_graph_{room} ON {part} USING hnsw ((half::halfvec({dimensions}))
        halfvec_cosine_ops) WITH (m = 16, ef_construction = 128) WHERE room = {room}
    """
    tell_graph = "UPDATE index_rooms SET graph = $2 WHERE id = $1"
    graph_bytes = """
        SELECT coalesce(sum(pg_relation_size(to_regclass('index_graph_' || n))), 0)::bigint
        FROM unnest($1::integer[]) AS n
    """
    vacuum = "VACUUM (ANALYZE, INDEX_CLEANUP ON) {table}"


BODY: Final = """
    c.document, d.version, d.title, d.url, d.language, d.labels, d.metadata, c.position, c.digest, c.text,
    coalesce(c.whole, c.half::vector), c.tokens, c.starts, c.ends, c.page, c.heading
"""
"""What `postgres_rows.Body` is made of, of a chunk `c` and its document `d`."""

RETRYABLE: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)
"""PostgreSQL rolled the transaction back so that another could go on; ours may simply run again."""

FOREIGN: Final = postgres_faults.FOREIGN
OWN: Final = (
    (asyncpg.DataError, Invalid, "PostgreSQL refused a value.", ""),
    (asyncpg.ProgramLimitExceededError, Invalid, "This is more than PostgreSQL can hold in one row.", ""),
)
"""What only this port makes of the driver's errors."""


def translated(error: BaseException) -> PenstockError:
    """Return our error for the driver's."""
    return postgres_faults.translated(error, OWN)

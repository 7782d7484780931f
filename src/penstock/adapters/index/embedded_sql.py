"""Every statement of the embedded index's file, by name.

Everything of a space carries a number above `space << SHIFT`: its chunks, its documents, and what it deleted, drawn
from one counter that only rises. So a space's rows lie together, and "all up to number n" says how far a graph or the
words have come.
"""

from __future__ import annotations

from typing import Final

SHIFT: Final = 36
SCHEMA_VERSION: Final = 1


class Sql:
    """Every statement. Order and equality of text are those of its UTF-8 (collation BINARY)."""

    # Before the first table: what is deleted is overwritten with zeros, and its pages can leave the file.
    first = "PRAGMA page_size=8192; PRAGMA auto_vacuum=INCREMENTAL"
    pragmas = """
        PRAGMA secure_delete=ON; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA foreign_keys=OFF;
        PRAGMA cache_size=-32768; PRAGMA mmap_size=0
    """
    journal = "PRAGMA journal_mode=WAL"
    schema_version = "PRAGMA user_version"
    schema = f"""
        CREATE TABLE spaces (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant TEXT NOT NULL, collection TEXT NOT NULL, space TEXT NOT NULL,
            dimensions INTEGER NOT NULL,  -- 0 until the first vector
            drawn INTEGER NOT NULL,       -- the last number drawn
            documents INTEGER NOT NULL, chunks INTEGER NOT NULL, bytes INTEGER NOT NULL,
            alive INTEGER NOT NULL        -- 0: deleted as a whole, its rows go with the next compacting
        ) STRICT;
        CREATE UNIQUE INDEX spaces_alive ON spaces (tenant, collection, space) WHERE alive = 1;
        CREATE TABLE documents (
            number INTEGER PRIMARY KEY, space INTEGER NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL,
            title TEXT NOT NULL, url TEXT NOT NULL, language TEXT NOT NULL,
            labels BLOB NOT NULL, metadata BLOB NOT NULL  -- msgpack
        ) STRICT;
        CREATE UNIQUE INDEX documents_id ON documents (space, id);
        CREATE TABLE chunks (
            number INTEGER PRIMARY KEY, document INTEGER NOT NULL, position INTEGER NOT NULL,
            digest BLOB NOT NULL, kind INTEGER NOT NULL, vector BLOB NOT NULL, text TEXT NOT NULL,
            start INTEGER NOT NULL, "end" INTEGER NOT NULL, page INTEGER NOT NULL, heading TEXT NOT NULL,
            tokens BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX chunks_document ON chunks (document, position);
        CREATE INDEX chunks_digest ON chunks (digest);
        CREATE TABLE gone (number INTEGER PRIMARY KEY, chunk INTEGER NOT NULL) STRICT;
        PRAGMA user_version = {SCHEMA_VERSION};
    """
    begin = "BEGIN IMMEDIATE"
    commit = "COMMIT"
    rollback = "ROLLBACK"
    ping = "SELECT count(*) FROM (SELECT number FROM spaces LIMIT 1)"

    # ------------------------------------------------------------------------------------------------- spaces
    space = """
        SELECT number, dimensions, drawn, documents, chunks, bytes FROM spaces
        WHERE tenant = ? AND collection = ? AND space = ? AND alive = 1
    """
    spaces = """
        SELECT number, dimensions, drawn, documents, chunks, bytes FROM spaces
        WHERE tenant = ?1 AND collection = ?2 AND alive = 1 AND (?3 = '' OR space = ?3) ORDER BY number
    """
    every_space = "SELECT number, alive FROM spaces"
    new_space = """
        INSERT INTO spaces (tenant, collection, space, dimensions, drawn, documents, chunks, bytes, alive)
        VALUES (?, ?, ?, 0, 0, 0, 0, 0, 1) RETURNING number
    """
    set_space = """
        UPDATE spaces SET dimensions = ?2, drawn = ?3, documents = ?4, chunks = ?5, bytes = ?6 WHERE number = ?1
    """
    space_by_number = """
        SELECT number, dimensions, drawn, documents, chunks, bytes FROM spaces WHERE number = ? AND alive = 1
    """
    bury = "UPDATE spaces SET alive = 0 WHERE number = ?"
    forget = "DELETE FROM spaces WHERE number = ?"

    # -------------------------------------------------------------------------------------------------- writes
    document_of = "SELECT number FROM documents WHERE space = ? AND id = ?"
    chunks_of = """
        SELECT number, length(vector) + length(tokens) + octet_length(text) FROM chunks WHERE document = ?
    """
    add_document = "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    add_chunk = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    add_gone = "INSERT INTO gone VALUES (?, ?)"
    drop_document = "DELETE FROM documents WHERE number = ?"
    drop_chunks = "DELETE FROM chunks WHERE document = ?"

    # --------------------------------------------------------------------------------------------------- reads
    different = """
        SELECT count(DISTINCT id) FROM documents WHERE space IN (SELECT value FROM json_each(?))
    """
    whole = """
        SELECT c.number, d.id, d.version, d.title, d.url, d.language, d.labels, d.metadata, c.position, c.digest,
               c.kind, c.vector, c.text, c.start, c."end", c.page, c.heading
    """
    some = f"""
        {whole}, CASE ?2 WHEN 1 THEN c.tokens ELSE x'' END
        FROM json_each(?1) AS j CROSS JOIN chunks AS c ON c.number = j.value
        JOIN documents AS d ON d.number = c.document
    """
    # Two halves, so that each is one walk along an index: the rest of the document that the last page ended in, and
    # the documents after it.
    scan = f"""
        {whole}, c.tokens
        FROM documents AS d JOIN chunks AS c ON c.document = d.number
        WHERE d.space = ?1 AND d.id = ?2 AND c.position > ?3
        UNION ALL
        SELECT * FROM (
            {whole}, c.tokens
            FROM documents AS d CROSS JOIN chunks AS c ON c.document = d.number
            WHERE d.space = ?1 AND d.id > ?2 ORDER BY d.id, c.position LIMIT ?4
        )
        LIMIT ?4
    """  # noqa: S608 - `whole` is the constant above
    known = "SELECT kind, vector FROM chunks WHERE digest = ? AND number BETWEEN ? AND ? LIMIT 1"

    # ----------------------------------------------------------------------------------------------- catching up
    heads = """
        SELECT number, id, title, url, language, labels, metadata FROM documents
        WHERE number > ? AND number <= ? ORDER BY number LIMIT ?
    """
    vectors = """
        SELECT number, document, kind, vector FROM chunks WHERE number > ? AND number <= ? ORDER BY number LIMIT ?
    """
    owners = "SELECT number, document FROM chunks WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"
    texts = """
        SELECT c.number, d.language, c.text FROM chunks AS c JOIN documents AS d ON d.number = c.document
        WHERE c.number > ? AND c.number <= ? ORDER BY c.number LIMIT ?
    """
    gone = "SELECT number, chunk FROM gone WHERE number > ? AND number <= ? ORDER BY number LIMIT ?"

    # ------------------------------------------------------------------------------------------------ compacting
    purge_chunks = """
        DELETE FROM chunks WHERE number IN (SELECT number FROM chunks WHERE number BETWEEN ? AND ? LIMIT ?)
    """
    purge_documents = """
        DELETE FROM documents WHERE number IN (SELECT number FROM documents WHERE number BETWEEN ? AND ? LIMIT ?)
    """
    purge_gone = (
        "DELETE FROM gone WHERE number IN (SELECT number FROM gone WHERE number BETWEEN ? AND ? LIMIT ?)"
    )
    free_pages = "PRAGMA freelist_count"
    vacuum = "PRAGMA incremental_vacuum(2000)"
    checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)"
    pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    rows = "SELECT count(*) FROM chunks"

"""How `PostgresIndex` looks for chunks: the filters, and the two searches of a room. Values never enter a query's text.

By meaning. A room up to `postgres_graphs.GRAPH_LEAST` chunks is read whole: exact. A larger one has a graph of its own,
never shared with another tenant (one shared by all found 6 % of what it should under a filter of 1 %). What share of
its chunks passes the filters is seen on a sample, a stretch of the digests, which are spread evenly whatever was put
when: few enough, and those are read whole after all; else the graph is walked the farther the fewer pass. Either way
twice as many as asked for are fetched by their half precision and put in order by what is stored.

By words. BM25 as published: documents in the language of the question are matched by stems, others by the very words.
In a large room the rarest words choose the candidates and the common ones only rank them.
"""

# asyncpg ships no stubs: what crosses this border is typed by hand.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from zlib import crc32

import msgspec

from penstock.adapters.index import postgres_rows as rows
from penstock.adapters.index.postgres_sql import BODY
from penstock.adapters.index.postgres_words import asked, configuration
from penstock.ports.index import Hit, Question, Where

EXACT_MOST: Final = 20_000
"""Chunks that pass the filters and are read whole rather than looked for in a graph."""
SAMPLE: Final = 400
"""Chunks on which a filter's share is seen, and (half of them) how common a word is."""
REACH: Final = 200
"""Candidates a graph holds in view (`hnsw.ef_search`) when everything passes; the fewer pass, the more."""
REACH_MOST: Final = 1_000
"""pgvector allows no more."""
FETCHED: Final = 2
"""Chunks fetched by their half precision for each that is asked for."""
SCANNED_MOST: Final = 200_000
"""Chunks of a graph that one search may visit."""
CANDIDATES_MOST: Final = 5_000
"""Chunks that are ranked by their words in one search, and that are counted for one word."""
TOKENS_MOST: Final = 16 << 20
"""Bytes of tokens in one list of hits."""
K1: Final = 1.2
B: Final = 0.75


class Sql:
    """The questions, with blanks for filters (conditions with numbered values), columns and dimensions."""

    reach = """
        SELECT set_config('hnsw.ef_search', $1, true), set_config('hnsw.max_scan_tuples', $2, true),
               set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('enable_sort', 'off', true),
               set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)
    """
    settle = """
        SELECT set_config('enable_sort', 'on', true), set_config('enable_seqscan', 'on', true),
               set_config('enable_bitmapscan', 'on', true)
    """
    share = """
        SELECT count(*), count(*) FILTER (WHERE {filters}) FROM (
            SELECT facts, names, numbers FROM index_chunks AS c WHERE room = $1 AND digest >= $2
            ORDER BY digest LIMIT $3
        ) AS c
    """
    # The graph is made of the expression with its dimensions; the plain column can only be read.
    near_exact = """
        SELECT c.document, c.position FROM index_chunks AS c WHERE c.room = $1 AND {filters}
        ORDER BY coalesce(nullif(c.half <=> l2_normalize($2::vector)::halfvec, 'NaN'), 1), c.document, c.position
        LIMIT $3
    """
    near_graph = """
        SELECT c.document, c.position FROM index_chunks AS c WHERE c.room = $1 AND {filters}
        ORDER BY (c.half::halfvec({dimensions})) <=> l2_normalize($2::vector)::halfvec({dimensions}) LIMIT $3
    """
    near_known = (
        "SELECT * FROM unnest({documents}::bytea[], {positions}::integer[]) AS k (document, position)"
    )
    near = """
        WITH near AS MATERIALIZED ({near}),
        best AS MATERIALIZED (
            SELECT n.document, n.position,
                   1 - coalesce(nullif(coalesce(c.whole, c.half::vector) <=> $2::vector, 'NaN'), 1) AS score
            FROM near AS n JOIN index_chunks AS c
                ON c.room = $1 AND c.document = n.document AND c.position = n.position
            ORDER BY 3 DESC, 1, 2 LIMIT {limit}
        )
    """
    words = """
        SELECT hashtextextended(w.word, $1), CASE WHEN NOT w.has_stem OR $4 = 'simple'
            THEN ARRAY[hashtextextended(w.word, $1)]
            ELSE ARRAY(
                SELECT hashtextextended($4 || ' ' || t.lexeme, $1)
                FROM unnest(to_tsvector($4::regconfig, w.word)) AS t
            ) END
        FROM unnest($2::text[], $3::boolean[]) AS w (word, has_stem)
    """
    frequencies = """
        SELECT t.term, (
            SELECT count(*) FROM (
                SELECT FROM index_chunks AS c WHERE c.room = $1 AND c.terms @> ARRAY[t.term] LIMIT $3
            ) AS c
        ) FROM unnest($2::bigint[]) AS t (term)
    """
    sampled_frequencies = """
        SELECT t.term, count(*) FILTER (WHERE t.term = ANY(c.terms))::float8 / greatest(count(*), 1)
        FROM unnest($2::bigint[]) AS t (term), (
            SELECT terms FROM index_chunks WHERE room = $1 AND digest >= $3 ORDER BY digest LIMIT $4
        ) AS c GROUP BY t.term
    """
    ranked = """
        WITH candidates AS MATERIALIZED (
            SELECT c.document, c.position, c.terms, c.times, c.length, c.reading = $2 AS is_read
            FROM index_chunks AS c
            WHERE c.room = $1 AND c.terms && $3::bigint[] AND {filters} LIMIT {candidates}
        ),
        best AS MATERIALIZED (
            SELECT document, position, score FROM candidates AS c CROSS JOIN LATERAL (
                SELECT sum(
                    q.weight * t.times * {k1_1}::float8
                    / (t.times + {k1}::float8 * ({b_1}::float8 + {b}::float8 * c.length / $7::float8))
                ) AS score
                FROM unnest($4::bigint[], $5::float8[], $6::boolean[]) AS q (term, weight, is_stem)
                CROSS JOIN LATERAL (
                    SELECT c.times[array_position(c.terms, q.term)]::float8 AS times OFFSET 0
                ) AS t
                WHERE q.is_stem = c.is_read AND t.times IS NOT NULL
            ) AS s
            WHERE score IS NOT NULL ORDER BY score DESC, document, position LIMIT {limit}
        )
    """
    bodies = """
        SELECT {body}, b.score FROM (
            SELECT document, position, score, row_number() OVER (ORDER BY score DESC, document, position) AS rank
            FROM best
        ) AS b
        JOIN index_chunks AS c ON c.room = $1 AND c.document = b.document AND c.position = b.position
        JOIN index_documents AS d ON d.room = c.room AND d.id = c.document
        ORDER BY b.rank
    """
    # Tokens are many bytes: they come as long as there is room, the best first.
    tokens = f"""
        CASE WHEN sum(octet_length(c.tokens)) OVER (ORDER BY b.rank) <= {TOKENS_MOST} THEN c.tokens
            ELSE '' END AS tokens
    """
    no_tokens = "''::bytea AS tokens"


class Room(msgspec.Struct, frozen=True):
    """One tenant's collection in one space, as the store knows it."""

    id: int
    dimensions: int
    graph: bool
    documents: int
    chunks: int
    labelled: int
    words: int
    bytes: int


class Bindings(list[Any]):
    """The values of a query, numbered from $1."""

    def add(self, value: object) -> str:
        """Bind one more value and return its number."""
        self.append(value)
        return f"${len(self)}"


def filtered(room: int, question: Question, bindings: Bindings) -> str:
    """Return the condition that a chunk `c` may be seen and passes."""
    may_see = [rows.open_fact(room), *(rows.label_fact(room, label) for label in question.labels)]
    terms = [f"c.facts && {bindings.add(may_see)}::bytea[]"]
    for where in question.where:
        terms.extend(_passes(room, where, bindings))
    return " AND ".join(terms)


def _passes(room: int, where: Where, bindings: Bindings) -> list[str]:
    terms: list[str] = []
    if where.any_of:
        values = [rows.fact(room, where.field, value) for value in where.any_of]
        terms.append(f"c.facts && {bindings.add(values)}::bytea[]")
    if where.at_least is not None or where.at_most is not None:
        name = bindings.add(rows.field_key(room, where.field))
        least = bindings.add(-math.inf if where.at_least is None else float(where.at_least))
        most = bindings.add(math.inf if where.at_most is None else float(where.at_most))
        terms.append(
            f"c.numbers[array_position(c.names, {name}::bytea)] BETWEEN {least}::float8 AND {most}::float8"
        )
    return terms


async def near(connection: Any, room: Room, question: Question) -> tuple[Hit, ...]:  # noqa: ANN401 - the driver ships no types
    """Return the chunks nearest to the question's vector, inside a transaction of its own snapshot."""
    bindings = Bindings([room.id, rows.to_wire(question.vector)])
    has_graph = room.graph and any(question.vector) and not question.exact
    reach = await _reach(connection, room, question) if has_graph else 0
    if reach:
        found = await _walked(connection, room, question, reach)
        documents, positions = zip(*found, strict=True) if found else ((), ())
        look = Sql.near_known.format(documents=bindings.add(documents), positions=bindings.add(positions))
    else:
        bindings.append(FETCHED * question.limit)
        look = Sql.near_exact.format(filters=filtered(room.id, question, bindings))
    query = Sql.near.format(near=look, limit=bindings.add(question.limit)) + _bodies(question)
    return tuple(map(rows.hit_of, await connection.fetch(query, *bindings)))


async def _walked(connection: Any, room: Room, question: Question, reach: int) -> list[tuple[bytes, int]]:  # noqa: ANN401 - the driver ships no types
    """Return the chunks that the room's graph leads to. Other plans are made dear, for this one statement."""
    bindings = Bindings([room.id, rows.to_wire(question.vector), FETCHED * question.limit])
    query = Sql.near_graph.format(filters=filtered(room.id, question, bindings), dimensions=room.dimensions)
    await connection.execute(Sql.reach, str(reach), str(SCANNED_MOST))
    found = await connection.fetch(query, *bindings)
    await connection.execute(Sql.settle)
    return [(document, position) for document, position in found]


async def _reach(connection: Any, room: Room, question: Question) -> int:  # noqa: ANN401 - the driver ships no types
    """Return how far to reach in the graph; 0: so few pass that all of them are to be read."""
    share = 1.0
    if question.where or room.labelled:
        bindings = Bindings([room.id, _start(question), SAMPLE])
        query = Sql.share.format(filters=filtered(room.id, question, bindings))
        seen, passed = await connection.fetchrow(query, *bindings)
        share = passed / max(seen, 1)
    if share * room.chunks <= EXACT_MOST:
        return 0
    return min(max(round(REACH / share), 4 * question.limit), REACH_MOST)


async def by_words(connection: Any, room: Room, question: Question) -> tuple[Hit, ...]:  # noqa: ANN401 - the driver ships no types
    """Return the chunks that rank highest for the question's words."""
    reading = configuration(question.language)
    words = asked(question.words)
    if not words.words or not room.chunks:
        return ()
    plain: set[int] = set()
    stems: set[int] = set()
    for word, read in await connection.fetch(Sql.words, room.id, words.words, words.has_stem, reading):
        if read:  # nothing is left of a stop word
            plain.add(word)
            stems.update(read)
    frequencies = await _frequencies(connection, room, question, sorted(plain | stems))
    terms = [(term, is_stem) for is_stem, known in ((False, plain), (True, stems)) for term in sorted(known)]
    terms = [(term, is_stem) for term, is_stem in terms if frequencies[term] > 0]
    if not terms:
        return ()
    weights = [_weight(room.chunks, frequencies[term]) for term, _ in terms]
    mean = max(room.words / room.chunks, 1.0)
    columns = ([term for term, _ in terms], weights, [is_stem for _, is_stem in terms])
    bindings = Bindings([room.id, reading, _choosing(frequencies, room.chunks), *columns, mean])
    query = Sql.ranked.format(
        filters=filtered(room.id, question, bindings),
        candidates=bindings.add(CANDIDATES_MOST),
        limit=bindings.add(question.limit),
        k1=K1,
        k1_1=K1 + 1,
        b=B,
        b_1=1 - B,
    ) + _bodies(question)
    return tuple(map(rows.hit_of, await connection.fetch(query, *bindings)))


async def _frequencies(
    connection: Any,  # noqa: ANN401 - the driver ships no types
    room: Room,
    question: Question,
    terms: Sequence[int],
) -> Mapping[int, float]:
    """Return how many chunks have each term: counted, beyond what is counted as a sample shows."""
    counted = await connection.fetch(Sql.frequencies, room.id, terms, CANDIDATES_MOST)
    found = {term: float(having) for term, having in counted}
    common = [term for term, having in found.items() if having >= CANDIDATES_MOST]
    if common:
        shares = await connection.fetch(
            Sql.sampled_frequencies, room.id, common, _start(question), SAMPLE // 2
        )
        found.update({term: max(share * room.chunks, found[term]) for term, share in shares})
    return found


def _weight(chunks: int, having: float) -> float:
    return math.log(1 + max(chunks - having, 0.0) / (having + 0.5) + 0.5 / (having + 0.5))


def _choosing(frequencies: Mapping[int, float], chunks: int) -> list[int]:
    """Return the terms that make a chunk a candidate: all in a small room, else the rarest as far as there is room."""
    known = sorted((having, term) for term, having in frequencies.items() if having > 0)
    if chunks <= CANDIDATES_MOST:
        return [term for _, term in known]
    chosen: list[int] = []
    room = float(CANDIDATES_MOST)
    for having, term in known:
        room -= having
        if chosen and room < 0:
            break
        chosen.append(term)
    return chosen


def _bodies(question: Question) -> str:
    return Sql.bodies.format(body=BODY.replace("c.tokens", Sql.tokens if question.tokens else Sql.no_tokens))


def _start(question: Question) -> bytes:
    """Return where a sample of the digests begins: in the first nine tenths of them, elsewhere for each question."""
    return (crc32(question.vector + question.words.encode()) % 58_982).to_bytes(2, "big")

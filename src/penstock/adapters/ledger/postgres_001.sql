-- The ledger on PostgreSQL, version 1. Amounts are nano-dollars.
-- ledger_journal is the truth; ledger_accounts and ledger_operations are what it adds up to, kept in the same transaction.

CREATE TABLE ledger_writers(   -- one row per process that ever wrote: the end of its chain, its last batch and the answers
    writer text COLLATE "C" PRIMARY KEY,
    incarnation integer NOT NULL,
    batch bigint NOT NULL DEFAULT 0,
    answers jsonb NOT NULL DEFAULT '[]',
    seq bigint NOT NULL DEFAULT 0,
    head bytea NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE ledger_beats(     -- a living writer counts on, about once a second; others watch with their own clocks
    writer text COLLATE "C" PRIMARY KEY,
    beat bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE ledger_accounts(
    name text COLLATE "C" PRIMARY KEY,
    posted_nanos bigint NOT NULL DEFAULT 0,
    held_nanos bigint NOT NULL DEFAULT 0,
    postings bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE ledger_operations(
    operation text COLLATE "C" PRIMARY KEY,
    state text NOT NULL,       -- pending, posted, voided, expired
    writer text COLLATE "C" NOT NULL,
    incarnation integer NOT NULL,
    accounts text[] NOT NULL,
    sequences integer[] NOT NULL,
    amounts bigint[] NOT NULL, -- one per sequence
    held_nanos bigint NOT NULL,
    checkpoint_nanos bigint NOT NULL DEFAULT -1,
    dispatched boolean NOT NULL DEFAULT false
);
CREATE INDEX ledger_operations_pending ON ledger_operations(writer, operation) WHERE state = 'pending';

CREATE TABLE ledger_journal(   -- id is drawn under the locks of what the row changed, so its order is the order of effects
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    writer text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    body text NOT NULL,
    digest bytea NOT NULL,
    UNIQUE (writer, seq)
);

CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only';
END $$;
CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE ON ledger_journal
    FOR EACH ROW EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER journal_is_not_truncated BEFORE TRUNCATE ON ledger_journal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();

-- One hold. Entry: [1, operation, sequence, amount, timeout_s, facts, [account, …], [limit, …]].
-- Answers ["held", is new], ["over", account, room], ["differs", first amount], ["settled"], ["unknown"] or ["lines"].
-- The caller has locked the operation and its accounts.
CREATE FUNCTION ledger_hold(p_writer text, p_incarnation integer, entry jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_operation text := entry->>1;
    v_sequence integer := (entry->>2)::integer;
    v_amount bigint := (entry->>3)::bigint;
    v_accounts text[] := ARRAY(SELECT jsonb_array_elements_text(entry->6));
    v_limits bigint[] := ARRAY(SELECT jsonb_array_elements_text(entry->7)::bigint);
    v_found ledger_operations;
    v_place integer;
    v_full record;
BEGIN
    SELECT * INTO v_found FROM ledger_operations WHERE operation = v_operation FOR UPDATE;
    IF FOUND THEN
        IF v_found.state <> 'pending' THEN RETURN '["settled"]'; END IF;
        v_place := array_position(v_found.sequences, v_sequence);
        IF v_place IS NOT NULL THEN
            IF v_found.amounts[v_place] = v_amount THEN RETURN '["held", false]'; END IF;
            RETURN jsonb_build_array('differs', v_found.amounts[v_place]);
        END IF;
        IF v_found.accounts <> v_accounts THEN RETURN '["lines"]'; END IF;
    ELSIF v_sequence <> 0 THEN
        RETURN '["unknown"]';
    END IF;
    SELECT a.name, CASE WHEN l.most < 0 THEN 4611686018427387904 ELSE l.most END - a.posted_nanos - a.held_nanos AS room
        INTO v_full
        FROM unnest(v_accounts, v_limits) WITH ORDINALITY AS l(name, most, place) JOIN ledger_accounts a USING (name)
        WHERE v_amount > CASE WHEN l.most < 0 THEN 4611686018427387904 ELSE l.most END - a.posted_nanos - a.held_nanos
        ORDER BY l.place LIMIT 1;
    IF FOUND THEN RETURN jsonb_build_array('over', v_full.name, v_full.room); END IF;
    IF v_found.operation IS NULL THEN
        INSERT INTO ledger_operations(operation, state, writer, incarnation, accounts, sequences, amounts, held_nanos)
            VALUES (v_operation, 'pending', p_writer, p_incarnation, v_accounts, ARRAY[0], ARRAY[v_amount], v_amount)
            ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN RETURN ledger_hold(p_writer, p_incarnation, entry); END IF; -- another process was first
    ELSE
        UPDATE ledger_operations SET sequences = sequences || v_sequence, amounts = amounts || v_amount,
            held_nanos = held_nanos + v_amount, writer = p_writer, incarnation = p_incarnation -- whoever tops up is its owner
            WHERE operation = v_operation;
    END IF;
    UPDATE ledger_accounts SET held_nanos = held_nanos + v_amount WHERE name = ANY(v_accounts);
    RETURN '["held", true]';
END $$;

-- One settlement. Entry: [3, operation, outcome, amount, estimated, [attempt, …]], or [5, operation, writer, beat] to
-- expire what `writer`, last seen at `beat`, left behind. Answers ["done", outcome, amount, released, overrun,
-- estimated], ["settled"], ["unknown"] or ["alive"]. The caller has locked the operation and its accounts.
CREATE FUNCTION ledger_settle(p_writer text, p_incarnation integer, entry jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_operation text := entry->>1;
    v_expire boolean := (entry->>0)::integer = 5;
    v_outcome text := 'expired';
    v_estimated boolean := true;
    v_amount bigint;
    v_found ledger_operations;
BEGIN
    SELECT * INTO v_found FROM ledger_operations WHERE operation = v_operation FOR UPDATE;
    IF NOT FOUND THEN RETURN '["unknown"]'; END IF;
    IF v_found.state <> 'pending' THEN RETURN '["settled"]'; END IF;
    IF v_expire THEN
        IF NOT (v_found.writer = p_writer AND v_found.incarnation = p_incarnation)
            AND EXISTS(SELECT FROM ledger_beats b JOIN ledger_writers w USING (writer)
                WHERE b.writer = v_found.writer AND w.incarnation = v_found.incarnation
                AND b.beat <> (entry->>3)::bigint)
        THEN RETURN '["alive"]'; END IF;
        v_amount := CASE WHEN v_found.checkpoint_nanos < 0 THEN v_found.held_nanos
            WHEN v_found.dispatched THEN v_found.checkpoint_nanos ELSE 0 END;
    ELSE
        v_outcome := entry->>2;
        v_amount := (entry->>3)::bigint;
        v_estimated := (entry->>4)::boolean;
    END IF;
    UPDATE ledger_operations SET state = v_outcome WHERE operation = v_operation;
    UPDATE ledger_accounts SET held_nanos = held_nanos - v_found.held_nanos, posted_nanos = posted_nanos + v_amount,
        postings = postings + CASE WHEN v_outcome = 'voided' THEN 0 ELSE 1 END
        WHERE name = ANY(v_found.accounts);
    RETURN jsonb_build_array('done', v_outcome, v_amount, greatest(v_found.held_nanos - v_amount, 0),
        greatest(v_amount - v_found.held_nanos, 0), v_estimated);
END $$;

-- A batch of one writer, applied exactly once: each entry succeeds or is refused by itself, and all that took effect is
-- one row of the journal. Repeating the last batch returns its answers and changes nothing, so that a writer that
-- did not hear the answer may ask again. Locks are taken in the order writer, operations by name, accounts by name.
CREATE FUNCTION ledger_apply(p_writer text, p_incarnation integer, p_batch bigint, p_entries jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_self ledger_writers;
    v_operations text[];
    v_entry jsonb;
    v_answer jsonb;
    v_answers jsonb[] := '{}';
    v_lines text[] := '{}';
    v_body text;
BEGIN
    SELECT * INTO v_self FROM ledger_writers WHERE writer = p_writer FOR UPDATE;
    IF v_self.incarnation IS DISTINCT FROM p_incarnation THEN
        RAISE EXCEPTION 'another process writes as %', p_writer USING ERRCODE = 'PL001';
    END IF;
    IF p_batch = v_self.batch THEN RETURN v_self.answers; END IF;
    IF p_batch <> v_self.batch + 1 THEN
        RAISE EXCEPTION 'batch % follows %', p_batch, v_self.batch USING ERRCODE = 'PL002';
    END IF;
    v_operations := ARRAY(SELECT DISTINCT e->>1 FROM jsonb_array_elements(p_entries) e);
    PERFORM FROM ledger_operations WHERE operation = ANY(v_operations) ORDER BY operation FOR UPDATE;
    INSERT INTO ledger_accounts(name)
        SELECT n FROM (SELECT DISTINCT n COLLATE "C" AS n
            FROM jsonb_array_elements(p_entries) e, jsonb_array_elements_text(e->6) n WHERE (e->>0)::integer = 1) names
        ORDER BY n ON CONFLICT DO NOTHING;
    PERFORM FROM ledger_accounts WHERE name IN (
            SELECT n FROM jsonb_array_elements(p_entries) e, jsonb_array_elements_text(e->6) n WHERE (e->>0)::integer = 1
            UNION SELECT unnest(accounts) FROM ledger_operations WHERE operation = ANY(v_operations))
        ORDER BY name FOR UPDATE;
    FOR v_entry IN SELECT value FROM jsonb_array_elements(p_entries) LOOP
        CASE (v_entry->>0)::integer
        WHEN 1 THEN
            v_answer := ledger_hold(p_writer, p_incarnation, v_entry);
            IF v_answer = '["held", true]' THEN v_lines := v_lines || v_entry::text; END IF;
        WHEN 2 THEN
            UPDATE ledger_operations SET checkpoint_nanos = greatest(checkpoint_nanos, (v_entry->>2)::bigint),
                dispatched = dispatched OR (v_entry->>3)::boolean
                WHERE operation = v_entry->>1 AND state = 'pending';
            IF FOUND THEN v_lines := v_lines || v_entry::text; END IF;
            v_answer := '["noted"]';
        WHEN 3, 5 THEN
            v_answer := ledger_settle(p_writer, p_incarnation, v_entry);
            IF v_answer->>0 = 'done' THEN
                v_lines := v_lines || jsonb_build_array(3, v_entry->>1, v_answer->1, v_answer->2, v_answer->3,
                    v_answer->4, v_answer->5, coalesce(v_entry->5, '[]'))::text;
            END IF;
        ELSE
            v_answer := '["withdrawn"]';
        END CASE;
        v_answers := v_answers || v_answer;
    END LOOP;
    IF cardinality(v_lines) > 0 THEN
        v_body := '[1,' || (extract(epoch FROM clock_timestamp()) * 1000)::bigint || ',['
            || array_to_string(v_lines, ',') || ']]';
        v_self.seq := v_self.seq + 1;
        v_self.head := sha256(v_self.head || convert_to(p_writer || ':' || v_self.seq || ':' || v_body, 'UTF8'));
        INSERT INTO ledger_journal(writer, seq, body, digest) VALUES (p_writer, v_self.seq, v_body, v_self.head);
    END IF;
    UPDATE ledger_writers SET batch = p_batch, answers = to_jsonb(v_answers), seq = v_self.seq, head = v_self.head
        WHERE writer = p_writer;
    RETURN to_jsonb(v_answers);
END $$;

-- Statements of a commit. Each takes many rows at once, an array for each column.

-- name: sessions
INSERT INTO organism.sessions (id, updated_at, is_running, search, tags, record, owner)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::boolean[], $4::text[], $5::text[], $6::bytea[], $7::bytea[])
ON CONFLICT (id) DO UPDATE SET
    updated_at = excluded.updated_at, is_running = excluded.is_running, search = excluded.search,
    tags = excluded.tags, record = excluded.record, owner = excluded.owner

-- name: events
INSERT INTO organism.session_events (session_id, seq, type, body, checksum)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[])
ON CONFLICT (session_id, seq) DO NOTHING

-- name: deleted_sessions
DELETE FROM organism.sessions WHERE id = ANY ($1::text[])

-- name: deleted_events
DELETE FROM organism.session_events WHERE session_id = ANY ($1::text[])

-- Statements of a commit. Each takes many rows at once, an array for each column.

-- name: messages
INSERT INTO organism.messages
    (seq, id, thread_id, slot_index, sender, recipient, payload_type, payload, timestamp_ms, callers, fate)
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bytea[], $9::bigint[],
    $10::text[], $11::text[]
)

-- name: queued
INSERT INTO organism.queued (recipient, seq) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (recipient, seq) DO UPDATE SET deaths = 0

-- name: done
DELETE FROM organism.queued AS q USING unnest($1::text[], $2::bigint[]) AS given (recipient, seq)
WHERE q.recipient = given.recipient AND q.seq = given.seq

-- name: dropped
UPDATE organism.messages SET fate = 'dropped' WHERE seq = ANY ($1::bigint[])

-- name: dead
UPDATE organism.messages SET fate = 'dead' WHERE seq = ANY ($1::bigint[])

-- name: dead_letters
INSERT INTO organism.dead_letters (seq, message_id, recipient, reason, attempts, died_ms)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[])
ON CONFLICT (seq) DO UPDATE SET
    message_id = excluded.message_id, recipient = excluded.recipient, reason = excluded.reason,
    attempts = excluded.attempts, died_ms = excluded.died_ms

-- name: requeued
UPDATE organism.messages SET fate = NULL WHERE seq = ANY ($1::bigint[])

-- name: requeued_letters
DELETE FROM organism.dead_letters WHERE seq = ANY ($1::bigint[])

-- name: deaths
UPDATE organism.queued AS q SET deaths = given.deaths
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS given (recipient, seq, deaths)
WHERE q.recipient = given.recipient AND q.seq = given.seq

-- name: threads
INSERT INTO organism.threads
    (id, created_ms, last_activity_ms, status, participants, message_count, pending, error, memory, owner)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[],
    $10::bytea[]
)
ON CONFLICT (id) DO UPDATE SET
    created_ms = excluded.created_ms, last_activity_ms = excluded.last_activity_ms, status = excluded.status,
    participants = excluded.participants, message_count = excluded.message_count, pending = excluded.pending,
    error = excluded.error, memory = excluded.memory, owner = excluded.owner

-- name: settings
INSERT INTO organism.settings (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[])
ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: removed_settings
DELETE FROM organism.settings WHERE key = ANY ($1::bytea[])

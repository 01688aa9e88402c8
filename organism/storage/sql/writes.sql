-- Statements of a commit. Each takes many rows at once: {rows} becomes (?, ?), (?, ?), … and rows of zeros only
-- fill the statement up to a size that is prepared already (see sqlite_server.py). 0 stands for NULL in text columns.

-- name: messages
INSERT INTO messages (seq, id, thread_id, slot_index, sender, recipient, payload_type, payload, timestamp_ms, callers, fate)
SELECT column1, column2, column3, column4, column5, column6, column7, column8, column9, column10, nullif(column11, 0)
FROM (VALUES {rows}) WHERE column1 <> 0

-- name: queued
INSERT OR REPLACE INTO queued (recipient, seq) SELECT column1, column2 FROM (VALUES {rows}) WHERE column1 <> 0

-- name: done
INSERT INTO done (recipient, seq) SELECT column1, column2 FROM (VALUES {rows}) WHERE column1 <> 0

-- name: dropped
UPDATE messages SET fate = 'dropped' WHERE seq IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

-- name: dead
UPDATE messages SET fate = 'dead' WHERE seq IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

-- name: dead_letters
INSERT OR REPLACE INTO dead_letters (seq, message_id, recipient, reason, attempts, died_ms)
SELECT column1, column2, column3, column4, column5, column6 FROM (VALUES {rows}) WHERE column1 <> 0

-- name: requeued
UPDATE messages SET fate = NULL WHERE seq IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

-- name: requeued_letters
DELETE FROM dead_letters WHERE seq IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

-- name: deaths
INSERT INTO queued_deaths (recipient, seq, deaths)
SELECT column1, column2, column3 FROM (VALUES {rows}) WHERE column1 <> 0

-- name: threads
INSERT INTO threads
    (id, created_ms, last_activity_ms, status, participants, message_count, pending, error, memory, owner)
SELECT column1, column2, column3, column4, column5, column6, column7, nullif(column8, 0), nullif(column9, 0),
    nullif(column10, 0)
FROM (VALUES {rows}) WHERE column1 <> 0
ON CONFLICT (id) DO UPDATE SET
    created_ms = excluded.created_ms, last_activity_ms = excluded.last_activity_ms, status = excluded.status,
    participants = excluded.participants, message_count = excluded.message_count, pending = excluded.pending,
    error = excluded.error, memory = excluded.memory, owner = excluded.owner

-- name: settings
INSERT OR REPLACE INTO settings (key, value) SELECT column1, column2 FROM (VALUES {rows}) WHERE column1 <> 0

-- name: removed_settings
DELETE FROM settings WHERE key IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

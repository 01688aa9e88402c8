-- Statements of a commit. Each takes many rows at once: {rows} becomes (?, ?), (?, ?), … and rows of zeros only
-- fill the statement up to a size that is prepared already (see sqlite_server.py).

-- name: sessions
INSERT INTO sessions (id, updated_at, is_running, search, record, owner)
SELECT column1, column2, column3, column4, column5, column6 FROM (VALUES {rows}) WHERE column1 <> 0
ON CONFLICT (id) DO UPDATE SET
    updated_at = excluded.updated_at, is_running = excluded.is_running, search = excluded.search,
    record = excluded.record, owner = excluded.owner

-- name: events
INSERT INTO events (session_id, seq, type, body)
SELECT column1, column2, column3, column4 FROM (VALUES {rows}) WHERE column1 <> 0
ON CONFLICT (session_id, seq) DO NOTHING

-- name: deleted_sessions
DELETE FROM sessions WHERE id IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

-- name: deleted_events
DELETE FROM events WHERE session_id IN (SELECT column1 FROM (VALUES {rows}) WHERE column1 <> 0)

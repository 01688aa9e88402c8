-- Sessions as JSON, and beside it what lists of them are found by. `search` is the text for SessionFilter.q, folded.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    updated_at INTEGER NOT NULL,
    is_running INTEGER NOT NULL,
    search TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_update ON sessions (updated_at DESC, id);

-- Rows lie in the order in which they came, whatever their session: an append touches the last page and its index.
CREATE TABLE events (
    session_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_session ON events (session_id, seq);

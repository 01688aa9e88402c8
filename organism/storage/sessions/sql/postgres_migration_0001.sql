-- Sessions as JSON, and beside it what lists of them are found by. `search` is the text for SessionFilter.q, folded.
-- Ids are compared byte by byte, whatever the locale of the database.
CREATE TABLE organism.sessions (
    id text COLLATE "C" PRIMARY KEY,
    updated_at bigint NOT NULL,
    is_running boolean NOT NULL,
    search text COLLATE "C" NOT NULL,
    tags text COLLATE "C" NOT NULL,
    record bytea NOT NULL
);
CREATE INDEX sessions_by_update ON organism.sessions (updated_at DESC, id);

-- checksum: CRC-32 of the body, which tells a damaged one.
CREATE TABLE organism.session_events (
    session_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    type text COLLATE "C" NOT NULL,
    body bytea NOT NULL,
    checksum bigint NOT NULL,
    PRIMARY KEY (session_id, seq)
);

-- The log. Rows are appended and, but for their fate, never changed: what waits is written in `queued`.
-- Names and ids are compared byte by byte, whatever the locale of the database. What users and models write is bytea,
-- because text cannot hold NUL.
CREATE TABLE organism.messages (
    seq bigint PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    thread_id text COLLATE "C" NOT NULL,
    slot_index bigint NOT NULL,
    sender text COLLATE "C" NOT NULL,
    recipient text COLLATE "C" NOT NULL,
    payload_type text COLLATE "C" NOT NULL,
    payload bytea NOT NULL,
    timestamp_ms bigint NOT NULL,
    callers text COLLATE "C" NOT NULL,
    fate text COLLATE "C"
);
CREATE UNIQUE INDEX messages_by_thread ON organism.messages (thread_id, slot_index);
CREATE INDEX messages_by_fate ON organism.messages (fate, seq) WHERE fate IS NOT NULL;

-- What waits for its listener, in the order in which the listener will get it.
CREATE TABLE organism.queued (
    recipient text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    deaths bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (recipient, seq)
);

-- Ids are UUIDv7: their order is the order of creation. memory is JSON, and NULL where there is none: the states,
-- todos and tokens of the thread.
CREATE TABLE organism.threads (
    id text COLLATE "C" PRIMARY KEY,
    created_ms bigint NOT NULL,
    last_activity_ms bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    participants text COLLATE "C" NOT NULL,
    message_count bigint NOT NULL,
    pending bigint NOT NULL,
    error bytea,
    memory bytea
);
CREATE INDEX threads_active ON organism.threads (id) WHERE status = 'active';

CREATE TABLE organism.dead_letters (
    seq bigint PRIMARY KEY,
    message_id text COLLATE "C" NOT NULL UNIQUE,
    recipient text COLLATE "C" NOT NULL,
    reason bytea NOT NULL,
    attempts bigint NOT NULL,
    died_ms bigint NOT NULL
);
CREATE INDEX dead_letters_by_time ON organism.dead_letters (died_ms, seq);

CREATE TABLE organism.settings (
    key bytea PRIMARY KEY,
    value bytea NOT NULL
);

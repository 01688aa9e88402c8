-- The log. Rows are appended and, but for their fate, never changed: what waits is written in `queued`.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    slot_index INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    payload_type TEXT NOT NULL,
    payload TEXT NOT NULL,
    timestamp_ms INTEGER NOT NULL,
    callers TEXT NOT NULL,
    fate TEXT
);
CREATE UNIQUE INDEX messages_by_thread ON messages (thread_id, slot_index);
CREATE INDEX messages_by_fate ON messages (fate, seq) WHERE fate IS NOT NULL;

-- What waits for its listener, in the order in which the listener will get it.
CREATE TABLE queued (
    recipient TEXT NOT NULL,
    seq INTEGER NOT NULL,
    deaths INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (recipient, seq)
) WITHOUT ROWID;

-- Many rows of two key columns cannot be deleted or updated by one statement that uses the key (the planner scans
-- the table instead), but they can be inserted into a view whose trigger does it row by row.
CREATE VIEW done AS SELECT recipient, seq FROM queued;
CREATE TRIGGER done_leaves_the_queue INSTEAD OF INSERT ON done BEGIN
    DELETE FROM queued WHERE recipient = NEW.recipient AND seq = NEW.seq;
END;
CREATE VIEW queued_deaths AS SELECT recipient, seq, deaths FROM queued;
CREATE TRIGGER queued_deaths_are_counted INSTEAD OF INSERT ON queued_deaths BEGIN
    UPDATE queued SET deaths = NEW.deaths WHERE recipient = NEW.recipient AND seq = NEW.seq;
END;

-- Ids are UUIDv7: their order is the order of creation. participants and memory are JSON; memory holds the
-- states, todos and tokens of the thread, and is NULL where there are none.
CREATE TABLE threads (
    id TEXT PRIMARY KEY,
    created_ms INTEGER NOT NULL,
    last_activity_ms INTEGER NOT NULL,
    status TEXT NOT NULL,
    participants TEXT NOT NULL,
    message_count INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    error TEXT,
    memory TEXT
) WITHOUT ROWID;
CREATE INDEX threads_active ON threads (id) WHERE status = 'active';

CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY REFERENCES messages (seq),
    message_id TEXT NOT NULL UNIQUE,
    recipient TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    died_ms INTEGER NOT NULL
);
CREATE INDEX dead_letters_by_time ON dead_letters (died_ms, seq);

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row: the number of the last commit, so that one whose answer was lost can be told from one that was not made.
CREATE TABLE progress (commits INTEGER NOT NULL);
INSERT INTO progress (commits) VALUES (0);

-- Whose a session is, to find somebody's own, one or all; those of before have no owner.
ALTER TABLE sessions ADD COLUMN owner TEXT;
CREATE INDEX sessions_by_owner ON sessions (owner, id) WHERE owner IS NOT NULL;

-- Whose a session is, to find somebody's own, one or all; those of before have no owner. As UTF-8 and no text: a name
-- that comes from elsewhere may have a NUL.
ALTER TABLE organism.sessions ADD COLUMN owner bytea;
CREATE INDEX sessions_by_owner ON organism.sessions (owner, id) WHERE owner IS NOT NULL;

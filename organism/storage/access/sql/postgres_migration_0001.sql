-- Keys, the audit log, tokens per day. Times in milliseconds since 1970. `bounds` is JSON. `access_changes` counts
-- changes of keys, in one row.
CREATE TABLE organism.access_keys (
    place bigint GENERATED ALWAYS AS IDENTITY,
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    role integer NOT NULL,
    bounds text,
    salt bytea NOT NULL,
    hash bytea NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);
CREATE UNIQUE INDEX usable_key_names ON organism.access_keys (name) WHERE revoked_at IS NULL;

CREATE TABLE organism.access_changes (count bigint NOT NULL);
INSERT INTO organism.access_changes VALUES (0);

CREATE TABLE organism.audit (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    who text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    target text COLLATE "C" NOT NULL,
    address text COLLATE "C" NOT NULL,
    outcome text COLLATE "C" NOT NULL,
    detail text COLLATE "C" NOT NULL
);
CREATE FUNCTION organism.keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON organism.audit
FOR EACH STATEMENT EXECUTE FUNCTION organism.keep_audit();

CREATE TABLE organism.access_tokens (
    principal text COLLATE "C" NOT NULL,
    day text COLLATE "C" NOT NULL,
    tokens bigint NOT NULL,
    PRIMARY KEY (principal, day)
);

-- name: version
SELECT count FROM changes

-- name: count_change
UPDATE changes SET count = count + 1

-- name: keys
SELECT id, name, role, bounds, salt, hash, created_at, expires_at, revoked_at, last_used_at
FROM keys ORDER BY created_at, rowid

-- name: add_key
INSERT INTO keys (id, name, role, bounds, salt, hash, created_at, expires_at, revoked_at, last_used_at)
VALUES (:id, :name, :role, :bounds, :salt, :hash, :created_at, :expires_at, :revoked_at, :last_used_at)

-- name: revoke_key
UPDATE keys SET revoked_at = :now_ms WHERE id = :id AND revoked_at IS NULL

-- name: note_use
UPDATE keys SET last_used_at = max(:at, coalesce(last_used_at, 0)) WHERE id = :id

-- name: append_audit
INSERT INTO audit (at, who, action, target, address, outcome, detail)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(:records) ORDER BY key

-- name: audit
SELECT at, who, action, target, address, outcome, detail, seq FROM audit WHERE {where} ORDER BY seq DESC LIMIT :limit

-- name: where_who
who = :who

-- name: where_action
action = :action

-- name: where_outcome
outcome = :outcome

-- name: where_before
seq < :before

-- name: where_after
seq > :after

-- name: where_since
at >= :since

-- name: add_tokens
INSERT INTO tokens (principal, day, tokens) VALUES (:principal, :day, :tokens)
ON CONFLICT (principal, day) DO UPDATE SET tokens = tokens + excluded.tokens

-- name: tokens
SELECT tokens FROM tokens WHERE principal = :principal AND day = :day

-- name: tokens_of_day
SELECT principal, tokens FROM tokens WHERE day = :day

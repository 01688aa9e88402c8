-- name: version
SELECT count FROM organism.access_changes

-- name: count_change
UPDATE organism.access_changes SET count = count + 1

-- name: keys
SELECT id, name, role, bounds, salt, hash, created_at, expires_at, revoked_at, last_used_at
FROM organism.access_keys ORDER BY created_at, place

-- name: add_key
INSERT INTO organism.access_keys
    (id, name, role, bounds, salt, hash, created_at, expires_at, revoked_at, last_used_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id

-- name: revoke_key
UPDATE organism.access_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL

-- name: note_use
UPDATE organism.access_keys SET last_used_at = greatest($2, last_used_at) WHERE id = $1

-- name: append_audit
INSERT INTO organism.audit (at, who, action, target, address, outcome, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: audit
SELECT at, who, action, target, address, outcome, detail, seq FROM organism.audit
WHERE ($1::text IS NULL OR who = $1) AND ($2::text IS NULL OR action = $2) AND ($3::text IS NULL OR outcome = $3)
    AND ($4::bigint IS NULL OR seq < $4) AND ($5::bigint IS NULL OR at >= $5)
    AND ($6::bigint IS NULL OR seq > $6)
ORDER BY seq DESC LIMIT $7

-- name: add_tokens
INSERT INTO organism.access_tokens AS used (principal, day, tokens) VALUES ($1, $2, $3)
ON CONFLICT (principal, day) DO UPDATE SET tokens = used.tokens + excluded.tokens
RETURNING tokens

-- name: tokens
SELECT tokens FROM organism.access_tokens WHERE principal = $1 AND day = $2

-- name: tokens_of_day
SELECT principal, tokens FROM organism.access_tokens WHERE day = $1

-- {where} becomes the conditions that hold. `:name` is a value.

-- name: records
SELECT id, record FROM organism.sessions WHERE id = ANY (:session_ids)

-- name: sessions
SELECT id, record FROM organism.sessions AS s WHERE {where} ORDER BY updated_at DESC, id LIMIT :limit OFFSET :offset

-- name: count_sessions
SELECT count(*) FROM organism.sessions AS s WHERE {where}

-- name: where_tag
s.tags::jsonb ? :tag

-- name: where_q
strpos(s.search, :q) > 0

-- name: where_is_running
s.is_running = :is_running

-- name: where_owner
s.owner = :owner

-- name: where_ids
s.id = ANY (:ids)

-- name: events
SELECT seq, type, body, checksum FROM organism.session_events
WHERE session_id = :session_id AND seq > :after_seq ORDER BY seq LIMIT :limit

-- name: last_events
SELECT seq, type, body, checksum FROM organism.session_events
WHERE session_id = :session_id ORDER BY seq DESC LIMIT :limit

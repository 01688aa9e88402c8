-- Each read answers rows of one column, a JSON array; sqlite_server.py joins them to one text (see there why).
-- {where} becomes the conditions that hold. An event whose body is damaged comes as its seq alone.

-- name: records
SELECT json_array(id, record) AS entry FROM sessions WHERE id IN (SELECT value FROM json_each(:session_ids))

-- name: sessions
SELECT json_array(id, record) AS entry FROM sessions AS s
WHERE {where} ORDER BY updated_at DESC, id LIMIT :limit OFFSET :offset

-- name: count_sessions
SELECT json_array(count(*)) AS entry FROM sessions AS s WHERE {where}

-- name: where_tag
CASE WHEN json_valid(s.record)
THEN EXISTS (SELECT 1 FROM json_each(s.record, '$.tags') AS tag WHERE tag.value = :tag) ELSE false END

-- name: where_q
instr(s.search, :q) > 0

-- name: where_is_running
s.is_running = :is_running

-- name: where_owner
s.owner = :owner

-- name: where_ids
s.id IN (SELECT value FROM json_each(:ids))

-- name: events
SELECT CASE WHEN json_valid(body) THEN json_array(seq, type, body) ELSE json_array(seq) END AS entry
FROM events WHERE session_id = :session_id AND seq > :after_seq ORDER BY seq LIMIT :limit

-- name: last_events
SELECT entry FROM (
    SELECT seq, CASE WHEN json_valid(body) THEN json_array(seq, type, body) ELSE json_array(seq) END AS entry
    FROM events WHERE session_id = :session_id ORDER BY seq DESC LIMIT :limit
) ORDER BY seq

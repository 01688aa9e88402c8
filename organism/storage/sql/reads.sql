-- Each read answers rows of one column, a JSON array; sqlite_server.py joins them to one text (see there why).
-- {message} becomes the fields of a message, {where} the conditions that hold, {order} ASC or DESC.

-- name: message
m.seq, m.id, m.thread_id, m.slot_index, m.sender, m.recipient, m.payload_type, m.payload, m.timestamp_ms, m.callers,
m.fate

-- name: last_seq
SELECT json_array(coalesce(max(seq), 0)) AS entry FROM messages

-- name: commits
SELECT json_array(commits) AS entry FROM progress

-- name: queue_sizes
SELECT json_array(recipient, count(*)) AS entry FROM queued GROUP BY recipient

-- name: active_threads
SELECT json_array(count(*)) AS entry FROM threads WHERE status = 'active'

-- name: settings
SELECT json_array(key, value) AS entry FROM settings

-- name: queued
SELECT json_array(q.deaths, {message}) AS entry
FROM queued AS q CROSS JOIN messages AS m ON m.seq = q.seq
WHERE q.recipient = :recipient AND q.seq > :after_seq
ORDER BY q.seq LIMIT :limit

-- name: queued_in_thread
SELECT json_array(q.deaths, {message}) AS entry
FROM messages AS m INDEXED BY messages_by_thread CROSS JOIN queued AS q ON q.recipient = m.recipient AND q.seq = m.seq
WHERE m.thread_id = :thread_id
ORDER BY m.seq

-- name: messages
SELECT json_array({message}) AS entry FROM messages AS m {index}
WHERE {where} ORDER BY m.seq {order} LIMIT :limit OFFSET :offset

-- name: count_messages
SELECT json_array(count(*)) AS entry FROM messages AS m {index} WHERE {where}

-- name: message_where_agents
(m.sender IN (SELECT value FROM json_each(:agents)) OR m.recipient IN (SELECT value FROM json_each(:agents)))

-- name: message_where_threads
m.thread_id IN (SELECT value FROM json_each(:threads))

-- name: message_where_payload_types
m.payload_type IN (SELECT value FROM json_each(:payload_types))

-- name: message_where_after_seq
m.seq > :after_seq

-- name: message_where_until_seq
m.seq <= :until_seq

-- name: message_where_since_ms
m.timestamp_ms >= :since_ms

-- name: message_where_fate
m.fate = :fate

-- name: threads_by_id
SELECT json_array({thread}) AS entry FROM threads AS t WHERE t.id IN (SELECT value FROM json_each(:thread_ids))

-- name: thread
t.id, t.created_ms, t.last_activity_ms, t.status, json(t.participants), t.message_count, t.pending, t.error,
json(t.memory), t.owner

-- name: threads
SELECT json_array({thread}) AS entry FROM threads AS t WHERE {where} ORDER BY t.id DESC LIMIT :limit OFFSET :offset

-- name: count_threads
SELECT json_array(count(*)) AS entry FROM threads AS t WHERE {where}

-- name: thread_where_status
t.status = :status

-- name: thread_where_agent
EXISTS (SELECT 1 FROM json_each(t.participants) WHERE value = :agent)

-- name: thread_where_agents
EXISTS (SELECT 1 FROM json_each(t.participants) WHERE value IN (SELECT value FROM json_each(:agents)))

-- name: thread_where_since_ms
t.last_activity_ms >= :since_ms

-- name: dead_letters
SELECT json_array({message}, d.reason, d.attempts, d.died_ms) AS entry
FROM dead_letters AS d CROSS JOIN messages AS m ON m.seq = d.seq
WHERE :agent IS NULL OR d.recipient = :agent
ORDER BY d.died_ms DESC, d.seq DESC LIMIT :limit OFFSET :offset

-- name: count_dead_letters
SELECT json_array(count(*)) AS entry FROM dead_letters WHERE :agent IS NULL OR recipient = :agent

-- name: dead_letter
SELECT json_array({message}, d.reason, d.attempts, d.died_ms) AS entry
FROM dead_letters AS d CROSS JOIN messages AS m ON m.seq = d.seq
WHERE d.message_id = :message_id

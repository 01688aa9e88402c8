-- {message} becomes the fields of a message, {where} the conditions that hold, {order} ASC or DESC. `:name` is a value.

-- name: message
m.seq, m.id, m.thread_id, m.slot_index, m.sender, m.recipient, m.payload_type, m.payload, m.timestamp_ms, m.callers,
m.fate

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM organism.messages

-- name: queue_sizes
SELECT recipient, count(*) FROM organism.queued GROUP BY recipient

-- name: active_threads
SELECT count(*) FROM organism.threads WHERE status = 'active'

-- name: settings
SELECT key, value FROM organism.settings

-- name: queued
SELECT q.deaths, {message} FROM organism.queued AS q JOIN organism.messages AS m ON m.seq = q.seq
WHERE q.recipient = :recipient AND q.seq > :after_seq
ORDER BY q.seq LIMIT :limit

-- name: queued_in_thread
SELECT q.deaths, {message}
FROM organism.messages AS m JOIN organism.queued AS q ON q.recipient = m.recipient AND q.seq = m.seq
WHERE m.thread_id = :thread_id
ORDER BY m.seq

-- name: messages
SELECT {message} FROM organism.messages AS m WHERE {where} ORDER BY m.seq {order} LIMIT :limit OFFSET :offset

-- name: count_messages
SELECT count(*) FROM organism.messages AS m WHERE {where}

-- name: message_where_agents
(m.sender = ANY (:agents) OR m.recipient = ANY (:agents))

-- name: message_where_threads
m.thread_id = ANY (:threads)

-- name: message_where_payload_types
m.payload_type = ANY (:payload_types)

-- name: message_where_after_seq
m.seq > :after_seq

-- name: message_where_until_seq
m.seq <= :until_seq

-- name: message_where_since_ms
m.timestamp_ms >= :since_ms

-- name: message_where_fate
m.fate = :fate

-- name: thread
t.id, t.created_ms, t.last_activity_ms, t.status, t.participants, t.message_count, t.pending, t.error, t.memory,
t.owner

-- name: threads_by_id
SELECT {thread} FROM organism.threads AS t WHERE t.id = ANY (:thread_ids)

-- name: threads
SELECT {thread} FROM organism.threads AS t WHERE {where} ORDER BY t.id DESC LIMIT :limit OFFSET :offset

-- name: count_threads
SELECT count(*) FROM organism.threads AS t WHERE {where}

-- name: thread_where_status
t.status = :status

-- name: thread_where_agent
t.participants::jsonb ? :agent

-- name: thread_where_agents
t.participants::jsonb ?| :agents

-- name: thread_where_since_ms
t.last_activity_ms >= :since_ms

-- name: dead_letters
SELECT {message}, d.reason, d.attempts, d.died_ms
FROM organism.dead_letters AS d JOIN organism.messages AS m ON m.seq = d.seq
WHERE :agent::text IS NULL OR d.recipient = :agent
ORDER BY d.died_ms DESC, d.seq DESC LIMIT :limit OFFSET :offset

-- name: count_dead_letters
SELECT count(*) FROM organism.dead_letters WHERE :agent::text IS NULL OR recipient = :agent

-- name: dead_letter
SELECT {message}, d.reason, d.attempts, d.died_ms
FROM organism.dead_letters AS d JOIN organism.messages AS m ON m.seq = d.seq
WHERE d.message_id = :message_id

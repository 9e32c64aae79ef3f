-- The calls of a session that wait: each hook asks for them, and a long session has thousands that are over.
CREATE INDEX call_pending ON call (tenant, session_id, at_us) WHERE state = 'pending';

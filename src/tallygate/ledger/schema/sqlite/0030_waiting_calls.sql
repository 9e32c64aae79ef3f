-- The calls that wait, by when they expire, in one index in place of two: each of them is a page that every step writes.
-- Those of a session are found among all that wait, which are few: what nobody reports expires within minutes.
DROP INDEX call_due;
DROP INDEX call_pending;
CREATE INDEX call_waiting ON call (tenant, expires_us, session_id) WHERE state = 'pending';

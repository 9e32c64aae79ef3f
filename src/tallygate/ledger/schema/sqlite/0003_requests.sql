-- One response told of twice, by its client's telemetry and in its transcript, is found by the request it answered.

ALTER TABLE usage ADD COLUMN counted_by TEXT;

CREATE INDEX usage_request ON usage (tenant, client, request_id) WHERE request_id IS NOT NULL;

-- A client's own total of a session, to compare with; a fact about files, not about spend.
CREATE TABLE session_check (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  client_session   TEXT NOT NULL,
  total_tokens     INTEGER NOT NULL CHECK (total_tokens >= 0),
  stated           TEXT NOT NULL,
  read_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, client, client_session)
) STRICT, WITHOUT ROWID;

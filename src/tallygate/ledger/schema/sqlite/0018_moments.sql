-- When nothing stood in a file that was not read: what is found in it later was written later.
ALTER TABLE transcript_file ADD COLUMN whole_us INTEGER;

-- 1 where a client's session began as its session was opened: nothing that is told of it happened before.
ALTER TABLE client_session ADD COLUMN begun INTEGER;

-- What later rows told of a response that was booked already, and the time of one that could not have been then.
CREATE TABLE told_of_usage (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  response_key     TEXT NOT NULL,
  kind             TEXT NOT NULL CHECK (kind IN ('lower', 'other_model', 'other_time', 'impossible_time')),
  client_session   TEXT NOT NULL,
  told             TEXT NOT NULL,
  seen_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, client, response_key, kind)
) STRICT, WITHOUT ROWID;
INSERT INTO told_of_usage SELECT tenant, client, response_key, kind, client_session, told, seen_us FROM usage_anomaly;
DROP TABLE usage_anomaly;
ALTER TABLE told_of_usage RENAME TO usage_anomaly;

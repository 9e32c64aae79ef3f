-- Why the user has set a response's counts; nothing that is read changes it after that.
ALTER TABLE usage ADD COLUMN corrected TEXT;

-- What later rows told of a response that was booked already: less, another model or another time. It changed nothing.
CREATE TABLE usage_anomaly (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  response_key     TEXT NOT NULL,
  kind             TEXT NOT NULL CHECK (kind IN ('lower', 'other_model', 'other_time')),
  client_session   TEXT NOT NULL,
  told             TEXT NOT NULL,
  seen_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, client, response_key, kind)
) STRICT, WITHOUT ROWID;

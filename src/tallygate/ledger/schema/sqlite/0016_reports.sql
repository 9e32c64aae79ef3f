-- What an agent reported of itself that nobody need believe: far less than it had asked for, a free model, void after
-- void. It was booked as it was said, and is named wherever the session is.
CREATE TABLE call_anomaly (
  tenant         TEXT NOT NULL,
  session_id     TEXT NOT NULL,
  call_id        TEXT NOT NULL,
  kind           TEXT NOT NULL CHECK (kind IN ('far_below', 'late_below', 'local_model', 'voids_in_a_row')),
  told           TEXT NOT NULL,
  seen_us        INTEGER NOT NULL,
  PRIMARY KEY (tenant, session_id, call_id, kind)
) STRICT, WITHOUT ROWID;

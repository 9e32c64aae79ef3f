-- Who changed a limit, by which way, from where and why: shown wherever the limit is.

CREATE TABLE limit_change (
  tenant         TEXT NOT NULL,
  budget_id      TEXT NOT NULL,
  at_us          INTEGER NOT NULL,
  unit           TEXT NOT NULL,
  before_nanos   INTEGER NOT NULL CHECK (before_nanos >= 0),
  limit_nanos    INTEGER NOT NULL CHECK (limit_nanos >= 0),
  door           TEXT NOT NULL,
  actor          TEXT NOT NULL,
  reason         TEXT NOT NULL,
  inside         TEXT,  -- the client's session that the command was started in
  beneath        TEXT,  -- the agent that was found above it
  PRIMARY KEY (tenant, budget_id, at_us)
) STRICT, WITHOUT ROWID;

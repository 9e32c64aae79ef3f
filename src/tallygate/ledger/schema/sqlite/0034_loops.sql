-- Where an agent went round in circles, and what was done: counts and the tool's name, nothing of what was asked.
CREATE TABLE loop (
  tenant           TEXT NOT NULL,
  session_id       TEXT NOT NULL,
  at_us            INTEGER NOT NULL,
  kind             TEXT NOT NULL,
  stage            TEXT NOT NULL,
  tool             TEXT NOT NULL,
  times            INTEGER NOT NULL CHECK (times > 0),
  calls            INTEGER NOT NULL CHECK (calls > 0),
  number           INTEGER NOT NULL CHECK (number > 0),
  agent_id         TEXT,
  cost_nanos       INTEGER,
  allowed_us       INTEGER,  -- when a person let it go on
  wrong_us         INTEGER,  -- when a person said that it was none
  PRIMARY KEY (tenant, session_id, at_us)
) STRICT, WITHOUT ROWID;
CREATE INDEX loop_at ON loop (tenant, at_us);

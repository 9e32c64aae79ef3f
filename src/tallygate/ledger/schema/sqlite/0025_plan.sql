-- How much of a client's own plan is used, as the client says: facts about the plan, as positions are about files, and
-- nothing that was spent. The newest of each window, which gates ask for; shares in hundredths of a per cent.
CREATE TABLE plan_window (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  limit_name       TEXT NOT NULL,
  minutes          INTEGER NOT NULL CHECK (minutes > 0),
  used             INTEGER NOT NULL CHECK (used >= 0),
  at_us            INTEGER NOT NULL,
  resets_us        INTEGER,
  source           TEXT NOT NULL,
  plan             TEXT,
  read_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, client, limit_name, minutes)
) STRICT, WITHOUT ROWID;

-- The last of each quarter of an hour, to be shown; the oldest go.
CREATE TABLE plan_history (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  limit_name       TEXT NOT NULL,
  minutes          INTEGER NOT NULL CHECK (minutes > 0),
  slot             INTEGER NOT NULL,
  used             INTEGER NOT NULL CHECK (used >= 0),
  at_us            INTEGER NOT NULL,
  resets_us        INTEGER,
  source           TEXT NOT NULL,
  plan             TEXT,
  read_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, client, limit_name, minutes, slot)
) STRICT, WITHOUT ROWID;

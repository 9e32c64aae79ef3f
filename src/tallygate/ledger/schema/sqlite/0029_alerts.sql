-- Of each alert and budget the highest threshold that was taken up, and how telling it went: facts about messages, as
-- positions are about files. `route` is a digest of whom it goes to.
CREATE TABLE alert (
  tenant           TEXT NOT NULL,
  budget_id        TEXT NOT NULL,
  route            TEXT NOT NULL,
  percent          INTEGER NOT NULL CHECK (percent > 0),
  at_us            INTEGER NOT NULL,
  claimed_us       INTEGER NOT NULL,
  tries            INTEGER NOT NULL CHECK (tries > 0),
  told_us          INTEGER,
  error            TEXT,
  PRIMARY KEY (tenant, budget_id, route)
) STRICT, WITHOUT ROWID;

-- What was wrong with the counts of a response that counts all the same; NULL where nothing was.
ALTER TABLE usage ADD COLUMN odd TEXT;

-- Files of which something could not be read: a fact about files, as positions are. `why` counts by reason;
-- `unfinished` stands in a last line without an end, which may still be being written.
CREATE TABLE unread_file (
  tenant           TEXT NOT NULL,
  path             TEXT NOT NULL,
  client           TEXT NOT NULL,
  client_session   TEXT,
  why              TEXT NOT NULL,
  records          INTEGER NOT NULL CHECK (records >= 0),
  unfinished       INTEGER NOT NULL CHECK (unfinished >= 0),
  read_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, path)
) STRICT, WITHOUT ROWID;

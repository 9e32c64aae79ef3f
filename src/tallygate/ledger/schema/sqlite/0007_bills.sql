-- What providers billed, as their exports or their API tell it, to be held against what was recorded.

-- A bill without `complete_us` is still being read in, and counts for nothing; a deleted one does not count any more.
CREATE TABLE bill (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  bill_id          TEXT NOT NULL,
  format           TEXT NOT NULL,
  name             TEXT NOT NULL,
  digest           TEXT NOT NULL CHECK (length(digest) = 64),
  currency         TEXT NOT NULL,
  lines            INTEGER NOT NULL CHECK (lines >= 0),
  imported_us      INTEGER NOT NULL,
  from_us          INTEGER,
  until_us         INTEGER,
  total_nanos      INTEGER CHECK (total_nanos BETWEEN -4000000000000000000 AND 4000000000000000000),
  complete_us      INTEGER,
  deleted_us       INTEGER,
  UNIQUE (tenant, bill_id)
) STRICT;

-- The same bytes, read as the same format, count once.
CREATE UNIQUE INDEX bill_counts ON bill (tenant, format, digest) WHERE complete_us IS NOT NULL AND deleted_us IS NULL;

-- NULL is what the bill does not say. `identity` is the SHA-256 of what makes it the same line in a later export.
CREATE TABLE bill_line (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  bill_id          TEXT NOT NULL,
  number           INTEGER NOT NULL CHECK (number > 0),
  part             INTEGER NOT NULL CHECK (part >= 0),  -- of the lines that stand in one row of the file
  identity         TEXT NOT NULL CHECK (length(identity) = 64),
  grain            TEXT NOT NULL CHECK (grain IN ('request', 'hour', 'day', 'month')),
  at_us            INTEGER NOT NULL,
  until_us         INTEGER,
  provider         TEXT NOT NULL,
  model            TEXT,
  fresh_input      INTEGER CHECK (fresh_input BETWEEN 0 AND 1000000000000),
  cache_read       INTEGER CHECK (cache_read BETWEEN 0 AND 1000000000000),
  cache_write      INTEGER CHECK (cache_write BETWEEN 0 AND 1000000000000),
  output           INTEGER CHECK (output BETWEEN 0 AND 1000000000000),
  read_tokens      INTEGER CHECK (read_tokens BETWEEN 0 AND 1000000000000),
  requests         INTEGER CHECK (requests BETWEEN 0 AND 1000000000000),
  token_class      TEXT CHECK (token_class IN ('input', 'cache_read', 'cache_write', 'output', 'other')),
  cost_nanos       INTEGER CHECK (cost_nanos BETWEEN -4000000000000000 AND 4000000000000000),
  request_id       TEXT,
  key_name         TEXT,
  workspace        TEXT,
  billing          TEXT NOT NULL CHECK (billing IN ('metered', 'included')),
  UNIQUE (tenant, bill_id, number, part),
  FOREIGN KEY (tenant, bill_id) REFERENCES bill (tenant, bill_id)
) STRICT;

CREATE INDEX bill_line_time ON bill_line (tenant, at_us);
CREATE INDEX bill_line_identity ON bill_line (tenant, identity, bill_id);

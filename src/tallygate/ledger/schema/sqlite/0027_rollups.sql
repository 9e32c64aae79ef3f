-- What responses and booked calls come to by quarter of an hour of UTC, so that no report reads them one by one.
-- It follows from `usage` and `call` and stands in no event: `verify` adds it up anew, and it can be made again.

-- What a sum is of; '' where nothing is known. Of calls that are booked themselves, whose client writes nothing down,
-- the session tells client and folder.
CREATE TABLE rollup_key (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  booked           INTEGER NOT NULL,
  client           TEXT NOT NULL,
  client_session   TEXT NOT NULL,
  session_id       TEXT NOT NULL,
  folder           TEXT NOT NULL,
  model            TEXT NOT NULL,
  price_id         TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX rollup_key_of
  ON rollup_key (tenant, client_session, session_id, model, price_id, folder, client, booked);

CREATE TABLE rollup (
  tenant           TEXT NOT NULL,
  quarter          INTEGER NOT NULL,
  key              INTEGER NOT NULL,
  responses        INTEGER NOT NULL,
  calls            INTEGER NOT NULL,
  partial          INTEGER NOT NULL,
  fresh_input      INTEGER NOT NULL,
  cache_read       INTEGER NOT NULL,
  cache_write_5m   INTEGER NOT NULL,
  cache_write_1h   INTEGER NOT NULL,
  output           INTEGER NOT NULL,
  reasoning        INTEGER NOT NULL,
  web_searches     INTEGER NOT NULL,
  cost_nanos       INTEGER NOT NULL,
  missing_output   INTEGER NOT NULL,
  exact_nanos      INTEGER NOT NULL,
  first_us         INTEGER NOT NULL,
  last_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, quarter, key)
) STRICT, WITHOUT ROWID;

-- Of a ledger of before: how far its responses and calls are added up. Until it is `whole` reports read them themselves.
CREATE TABLE rollup_state (
  one              INTEGER PRIMARY KEY CHECK (one = 1),
  usage_upto       INTEGER NOT NULL,
  call_upto        INTEGER NOT NULL,
  whole            INTEGER NOT NULL CHECK (whole IN (0, 1))
) STRICT;
INSERT INTO rollup_state SELECT 1, 0, 0, NOT EXISTS (SELECT 1 FROM usage) AND NOT EXISTS (SELECT 1 FROM call);

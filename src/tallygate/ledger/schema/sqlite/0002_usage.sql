-- What clients' own records say was used: one row a response, whoever read it and however often.

CREATE TABLE usage (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  response_key     TEXT NOT NULL,
  client_session   TEXT NOT NULL,
  parent_session   TEXT,
  at_us            INTEGER NOT NULL,
  model            TEXT NOT NULL,
  provider         TEXT,
  fresh_input      INTEGER NOT NULL CHECK (fresh_input BETWEEN 0 AND 1000000000000),
  cache_read       INTEGER NOT NULL CHECK (cache_read BETWEEN 0 AND 1000000000000),
  cache_write_5m   INTEGER NOT NULL CHECK (cache_write_5m BETWEEN 0 AND 1000000000000),
  cache_write_1h   INTEGER NOT NULL CHECK (cache_write_1h BETWEEN 0 AND 1000000000000),
  output           INTEGER NOT NULL CHECK (output BETWEEN 0 AND 1000000000000),
  reasoning        INTEGER NOT NULL CHECK (reasoning BETWEEN 0 AND 1000000000000),
  web_searches     INTEGER NOT NULL CHECK (web_searches BETWEEN 0 AND 1000000000000),
  estimated_output INTEGER CHECK (estimated_output BETWEEN 0 AND 1000000000000),
  quality          TEXT NOT NULL CHECK (quality IN ('final', 'partial', 'estimated', 'session_total')),
  rule             TEXT NOT NULL,
  tier             TEXT,
  speed            TEXT,
  geo              TEXT,
  native_cost      TEXT,
  agent_id         TEXT,
  tool_use_ids     TEXT,
  request_id       TEXT,
  project          TEXT,
  version          TEXT,
  price_id         TEXT NOT NULL,
  cost_nanos       INTEGER NOT NULL CHECK (cost_nanos BETWEEN 0 AND 4000000000000000000),
  session_id       TEXT,
  call_id          TEXT,
  charges          TEXT,  -- [budget_id, ...]: the budgets its cost stands in
  UNIQUE (tenant, client, response_key),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id)
) STRICT;

CREATE INDEX usage_time ON usage (tenant, at_us);
CREATE INDEX usage_session ON usage (tenant, session_id, at_us) WHERE session_id IS NOT NULL;
CREATE INDEX usage_client_session ON usage (tenant, client, client_session);

-- Which budget session a client's own session belongs to.
CREATE TABLE client_session (
  tenant           TEXT NOT NULL,
  client           TEXT NOT NULL,
  client_session   TEXT NOT NULL,
  session_id       TEXT NOT NULL,
  found_by         TEXT NOT NULL,
  PRIMARY KEY (tenant, client, client_session, session_id),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX client_session_of ON client_session (tenant, session_id);

-- How far each file was read; a fact about files, not about spend.
CREATE TABLE transcript_file (
  tenant           TEXT NOT NULL,
  path             TEXT NOT NULL,
  client           TEXT NOT NULL,
  position         TEXT NOT NULL,
  skipped          TEXT NOT NULL,
  read_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, path)
) STRICT, WITHOUT ROWID;

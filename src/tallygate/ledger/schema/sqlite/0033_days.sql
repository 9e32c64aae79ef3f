-- The shares of `share` by day of UTC whatever session they are of, beside them: a list over a year reads few rows.

-- As in `rollup_key` and `share_key`. `rate` is the currency and the rate of a session that has one of its own; only
-- of calls that are booked themselves the session is named.
CREATE TABLE day_key (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  booked           INTEGER NOT NULL,
  client           TEXT NOT NULL,
  session_id       TEXT NOT NULL,
  rate             TEXT NOT NULL,
  folder           TEXT NOT NULL,
  model            TEXT NOT NULL,
  price_id         TEXT NOT NULL,
  subagent         INTEGER NOT NULL,
  agent            TEXT NOT NULL,
  skill            TEXT NOT NULL,
  branch           TEXT NOT NULL,
  server           TEXT NOT NULL,
  tool             TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX day_key_of ON day_key (
  tenant, tool, server, model, folder, session_id, agent, skill, branch, price_id, client, rate, subagent, booked
);

CREATE TABLE day_share (
  tenant           TEXT NOT NULL,
  day              INTEGER NOT NULL,
  key              INTEGER NOT NULL,
  responses        INTEGER NOT NULL,
  served           INTEGER NOT NULL,
  partial          INTEGER NOT NULL,
  partial_served   INTEGER NOT NULL,
  calls            INTEGER NOT NULL,
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
  PRIMARY KEY (tenant, day, key)
) STRICT, WITHOUT ROWID;

-- The days before this one are added up; reports read shares from there on. A sync brings it up behind the last days.
ALTER TABLE rollup_state ADD COLUMN days_upto INTEGER NOT NULL DEFAULT -1000000;

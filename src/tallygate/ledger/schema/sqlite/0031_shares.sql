-- What responses and booked calls come to by whom they were made for, beside the sums of `rollup` and as those: the kind
-- of subagent, the skill, the branch, and of each tool that was served its share of the response.

-- '' where nothing is told; without a tool it is what served none.
CREATE TABLE share_key (
  id               INTEGER PRIMARY KEY,
  tenant           TEXT NOT NULL,
  key              INTEGER NOT NULL,
  subagent         INTEGER NOT NULL,
  agent            TEXT NOT NULL,
  skill            TEXT NOT NULL,
  branch           TEXT NOT NULL,
  final            INTEGER NOT NULL,
  server           TEXT NOT NULL,
  tool             TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX share_key_of ON share_key (tenant, key, tool, server, agent, skill, branch, subagent, final);

-- A response counts in `responses` once, with its first tool, and in `served` with each.
CREATE TABLE share (
  tenant           TEXT NOT NULL,
  quarter          INTEGER NOT NULL,
  key              INTEGER NOT NULL,
  responses        INTEGER NOT NULL,
  served           INTEGER NOT NULL,
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
  first_us         INTEGER NOT NULL,
  last_us          INTEGER NOT NULL,
  PRIMARY KEY (tenant, quarter, key)
) STRICT, WITHOUT ROWID;

-- What was added up before there were shares is added up again, with them.
DELETE FROM rollup;
DELETE FROM rollup_key;
UPDATE rollup_state SET usage_upto = 0, call_upto = 0,
  whole = NOT EXISTS (SELECT 1 FROM usage) AND NOT EXISTS (SELECT 1 FROM call);

-- Where an agent went round in circles, and what was done: counts and the tool's name, nothing of what was asked.
CREATE TABLE loop (
  tenant           TEXT COLLATE "C" NOT NULL,
  session_id       TEXT COLLATE "C" NOT NULL,
  at_us            BIGINT NOT NULL,
  kind             TEXT COLLATE "C" NOT NULL,
  stage            TEXT COLLATE "C" NOT NULL,
  tool             TEXT COLLATE "C" NOT NULL,
  times            BIGINT NOT NULL CHECK (times > 0),
  calls            BIGINT NOT NULL CHECK (calls > 0),
  number           BIGINT NOT NULL CHECK (number > 0),
  agent_id         TEXT COLLATE "C",
  cost_nanos       BIGINT,
  allowed_us       BIGINT,  -- when a person let it go on
  wrong_us         BIGINT,  -- when a person said that it was none
  PRIMARY KEY (tenant, session_id, at_us)
);
CREATE INDEX loop_at ON loop (tenant, at_us);

-- Every state change is one row of `event`, written in the same transaction as the rows it changes below.
-- Amounts are nano-units of the budget's unit; times are microseconds since 1970 UTC, by the ledger's own clock.

CREATE TABLE ledger (
  one           INTEGER PRIMARY KEY CHECK (one = 1),
  ledger_id     TEXT NOT NULL CHECK (length(ledger_id) = 32),
  created_us    INTEGER NOT NULL
) STRICT;

-- No index on seq: a tenant's events are found from the end, where its head is, or read from the start.
CREATE TABLE event (
  id            INTEGER PRIMARY KEY,  -- appended in order: the cheapest way SQLite has to grow a table
  tenant        TEXT NOT NULL,
  seq           INTEGER NOT NULL CHECK (seq > 0),
  at_us         INTEGER NOT NULL,
  body          BLOB NOT NULL,
  hash          BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER event_never_changes BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'events never change'); END;

CREATE TRIGGER event_never_goes BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END;

CREATE TABLE session (
  tenant            TEXT NOT NULL,
  session_id        TEXT NOT NULL CHECK (length(session_id) BETWEEN 1 AND 200),
  client            TEXT NOT NULL,
  model             TEXT NOT NULL,
  state             TEXT NOT NULL CHECK (state IN ('open', 'ended')),
  accounting_mode   TEXT NOT NULL CHECK (accounting_mode IN ('estimate_only', 'exact_optional', 'exact_required')),
  usage_channel     TEXT NOT NULL CHECK (usage_channel IN ('none', 'hosted_edge', 'self_hosted_relay', 'manual_import')),
  ask_capable       INTEGER NOT NULL CHECK (ask_capable IN (0, 1)),
  plan_capable      INTEGER NOT NULL CHECK (plan_capable IN (0, 1)),
  agent_capable     INTEGER NOT NULL CHECK (agent_capable IN (0, 1)),
  unknown_price     TEXT NOT NULL CHECK (unknown_price IN ('warn_only', 'reroute_required', 'halt_on_unknown_pricing')),
  currency          TEXT NOT NULL CHECK (length(currency) = 3),
  parent_session_id TEXT,
  task_summary      TEXT,
  end_summary       TEXT,
  project           TEXT,
  run_log           TEXT,
  server_id         TEXT,
  started_us        INTEGER NOT NULL,
  ended_us          INTEGER,
  end_cause         TEXT,
  CHECK ((state = 'ended') = (ended_us IS NOT NULL)),
  PRIMARY KEY (tenant, session_id),
  FOREIGN KEY (tenant, parent_session_id) REFERENCES session (tenant, session_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX session_open ON session (tenant, started_us) WHERE state = 'open';
CREATE INDEX session_started ON session (tenant, started_us);
CREATE INDEX session_parent ON session (tenant, parent_session_id, started_us) WHERE parent_session_id IS NOT NULL;

CREATE TABLE budget (
  tenant         TEXT NOT NULL,
  budget_id      TEXT NOT NULL,
  scope          TEXT NOT NULL,
  scope_key      TEXT NOT NULL,
  period         TEXT NOT NULL,
  unit           TEXT NOT NULL,
  mode           TEXT NOT NULL CHECK (mode IN ('hard', 'soft')),
  limit_nanos    INTEGER NOT NULL CHECK (limit_nanos BETWEEN 0 AND 4000000000000000000),
  spent_nanos    INTEGER NOT NULL CHECK (spent_nanos BETWEEN 0 AND 4000000000000000000),
  reserved_nanos INTEGER NOT NULL CHECK (reserved_nanos BETWEEN 0 AND 4000000000000000000),
  overage_nanos  INTEGER NOT NULL CHECK (overage_nanos BETWEEN 0 AND 4000000000000000000),
  resets_us      INTEGER,
  touched_us     INTEGER NOT NULL,
  CHECK (mode = 'soft' OR spent_nanos + reserved_nanos <= limit_nanos + overage_nanos),
  PRIMARY KEY (tenant, budget_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE session_budget (
  tenant        TEXT NOT NULL,
  session_id    TEXT NOT NULL,
  budget_id     TEXT NOT NULL,
  PRIMARY KEY (tenant, session_id, budget_id),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id),
  FOREIGN KEY (tenant, budget_id) REFERENCES budget (tenant, budget_id)
) STRICT, WITHOUT ROWID;

-- The basis of every cost: what a model's rates were, where they came from, under which key.
CREATE TABLE price (
  tenant        TEXT NOT NULL,
  price_id      TEXT NOT NULL,
  basis         TEXT NOT NULL,
  PRIMARY KEY (tenant, price_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE call (
  tenant             TEXT NOT NULL,
  call_id            TEXT NOT NULL CHECK (length(call_id) BETWEEN 1 AND 128),
  session_id         TEXT NOT NULL,
  state              TEXT NOT NULL CHECK (state IN ('denied', 'pending', 'reconciled', 'voided', 'expired')),
  action             TEXT NOT NULL CHECK (action IN ('allow', 'reroute', 'halt')),
  reason             TEXT NOT NULL,
  tool_name          TEXT NOT NULL,
  model_requested    TEXT NOT NULL,
  model_target       TEXT,
  model_used         TEXT,
  prompt_tokens      INTEGER NOT NULL CHECK (prompt_tokens BETWEEN 0 AND 1000000000),
  completion_tokens  INTEGER NOT NULL CHECK (completion_tokens BETWEEN 0 AND 1000000000),
  raw_estimate_nanos INTEGER NOT NULL CHECK (raw_estimate_nanos BETWEEN 0 AND 4000000000000000000),
  estimate_nanos     INTEGER NOT NULL CHECK (estimate_nanos BETWEEN 0 AND 4000000000000000000),
  factor_micros      INTEGER NOT NULL CHECK (factor_micros > 0),
  booked_nanos       INTEGER NOT NULL CHECK (booked_nanos BETWEEN 0 AND 4000000000000000000),
  cost_basis         TEXT NOT NULL CHECK (cost_basis IN ('actual', 'transcript', 'estimate', 'none')),
  fresh_input        INTEGER CHECK (fresh_input BETWEEN 0 AND 1000000000),
  cache_read         INTEGER CHECK (cache_read BETWEEN 0 AND 1000000000),
  cache_write_5m     INTEGER CHECK (cache_write_5m BETWEEN 0 AND 1000000000),
  cache_write_1h     INTEGER CHECK (cache_write_1h BETWEEN 0 AND 1000000000),
  output             INTEGER CHECK (output BETWEEN 0 AND 1000000000),
  price_id           TEXT NOT NULL,
  actual_price_id    TEXT,
  actor_type         TEXT NOT NULL CHECK (actor_type IN ('parent_agent', 'subagent')),
  actor_id           TEXT,
  actor_name         TEXT,
  parent_call_id     TEXT,
  call_mode          TEXT CHECK (call_mode IN ('ask', 'plan', 'agent')),
  mode_capable       INTEGER CHECK (mode_capable IN (0, 1)),
  client_key         TEXT,
  reply              TEXT,
  void_reason        TEXT,
  correlation        TEXT,
  at_us              INTEGER NOT NULL,
  expires_us         INTEGER,
  resolved_us        INTEGER,
  holds              TEXT NOT NULL,  -- [[budget_id, amount reserved], ...]: what it was charged to
  CHECK (cost_basis <> 'actual' OR (fresh_input IS NOT NULL AND output IS NOT NULL)),
  CHECK ((state = 'pending') = (expires_us IS NOT NULL AND resolved_us IS NULL)),
  CHECK (state <> 'reconciled' OR cost_basis IN ('actual', 'transcript')),
  CHECK (cost_basis <> 'transcript' OR booked_nanos = 0),  -- the usage rows hold what it cost
  CHECK (state NOT IN ('pending', 'denied', 'voided') OR booked_nanos = 0),
  UNIQUE (tenant, call_id),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id)
) STRICT;

CREATE INDEX call_of_session ON call (tenant, session_id, at_us, state);
CREATE INDEX call_due ON call (tenant, expires_us) WHERE state = 'pending';

-- Lines of the run log that are not on disk yet; delivery is a fact about a file, not about spend.
CREATE TABLE run_log_queue (
  tenant        TEXT NOT NULL,
  session_id    TEXT NOT NULL,
  path          TEXT NOT NULL,
  line          TEXT NOT NULL,
  queued_us     INTEGER NOT NULL,
  written_us    INTEGER,
  last_error    TEXT,
  PRIMARY KEY (tenant, session_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX run_log_waiting ON run_log_queue (tenant, queued_us) WHERE written_us IS NULL;

-- Once more only, when the client's own record takes the place of what an agent reported.
CREATE TRIGGER call_resolves_once BEFORE UPDATE ON call
WHEN OLD.state IN ('denied', 'reconciled')
  AND NOT (OLD.state = 'reconciled' AND OLD.cost_basis = 'actual' AND NEW.cost_basis = 'transcript')
BEGIN SELECT RAISE(ABORT, 'a resolved call never changes'); END;

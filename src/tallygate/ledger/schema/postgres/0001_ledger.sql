-- The tables of the ledger in a database of a team: the same names and columns as in schema/sqlite, where each is told of.
-- Text is compared byte by byte, as SQLite does, whatever the database's own order is.

CREATE TABLE ledger (
  one           BIGINT PRIMARY KEY CHECK (one = 1),
  ledger_id     TEXT COLLATE "C" NOT NULL CHECK (length(ledger_id) = 32),
  created_us    BIGINT NOT NULL
);

CREATE TABLE event (
  id            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant        TEXT COLLATE "C" NOT NULL,
  seq           BIGINT NOT NULL CHECK (seq > 0),
  at_us         BIGINT NOT NULL,
  body          BYTEA NOT NULL,
  hash          BYTEA NOT NULL CHECK (length(hash) = 32),
  -- What no lock has to be believed for: of two that go on from one head the second is refused, with all that it wrote.
  UNIQUE (tenant, seq)
);

CREATE TABLE session (
  tenant            TEXT COLLATE "C" NOT NULL,
  session_id        TEXT COLLATE "C" NOT NULL CHECK (length(session_id) BETWEEN 1 AND 200),
  client            TEXT COLLATE "C" NOT NULL,
  model             TEXT COLLATE "C" NOT NULL,
  state             TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'ended')),
  accounting_mode   TEXT COLLATE "C" NOT NULL CHECK (accounting_mode IN ('estimate_only', 'exact_optional', 'exact_required')),
  usage_channel     TEXT COLLATE "C" NOT NULL CHECK (usage_channel IN ('none', 'hosted_edge', 'self_hosted_relay', 'manual_import')),
  ask_capable       BIGINT NOT NULL CHECK (ask_capable IN (0, 1)),
  plan_capable      BIGINT NOT NULL CHECK (plan_capable IN (0, 1)),
  agent_capable     BIGINT NOT NULL CHECK (agent_capable IN (0, 1)),
  unknown_price     TEXT COLLATE "C" NOT NULL CHECK (unknown_price IN ('warn_only', 'reroute_required', 'halt_on_unknown_pricing')),
  currency          TEXT COLLATE "C" NOT NULL CHECK (length(currency) = 3),
  parent_session_id TEXT COLLATE "C",
  task_summary      TEXT COLLATE "C",
  end_summary       TEXT COLLATE "C",
  project           TEXT COLLATE "C",
  run_log           TEXT COLLATE "C",
  server_id         TEXT COLLATE "C",
  started_us        BIGINT NOT NULL,
  ended_us          BIGINT,
  end_cause         TEXT COLLATE "C",
  usd_nanos BIGINT CHECK (usd_nanos > 0),
  rate_day TEXT COLLATE "C",
  rules TEXT COLLATE "C",
  warned_us BIGINT,
  opened_from TEXT COLLATE "C",
  prices TEXT COLLATE "C",
  also_client TEXT COLLATE "C",
  CHECK ((state = 'ended') = (ended_us IS NOT NULL)),
  PRIMARY KEY (tenant, session_id),
  FOREIGN KEY (tenant, parent_session_id) REFERENCES session (tenant, session_id)
);

CREATE INDEX session_open ON session (tenant, started_us) WHERE state = 'open';

CREATE INDEX session_started ON session (tenant, started_us);

CREATE INDEX session_parent ON session (tenant, parent_session_id, started_us) WHERE parent_session_id IS NOT NULL;

CREATE TABLE budget (
  tenant         TEXT COLLATE "C" NOT NULL,
  budget_id      TEXT COLLATE "C" NOT NULL,
  scope          TEXT COLLATE "C" NOT NULL,
  scope_key      TEXT COLLATE "C" NOT NULL,
  period         TEXT COLLATE "C" NOT NULL,
  unit           TEXT COLLATE "C" NOT NULL,
  mode           TEXT COLLATE "C" NOT NULL CHECK (mode IN ('hard', 'soft')),
  limit_nanos    BIGINT NOT NULL CHECK (limit_nanos BETWEEN 0 AND 4000000000000000000),
  spent_nanos    BIGINT NOT NULL CHECK (spent_nanos BETWEEN 0 AND 4000000000000000000),
  reserved_nanos BIGINT NOT NULL CHECK (reserved_nanos BETWEEN 0 AND 4000000000000000000),
  overage_nanos  BIGINT NOT NULL CHECK (overage_nanos BETWEEN 0 AND 4000000000000000000),
  resets_us      BIGINT,
  touched_us     BIGINT NOT NULL,
  usd_nanos BIGINT CHECK (usd_nanos > 0),
  rate_day TEXT COLLATE "C",
  rule_limit BIGINT,
  start_us BIGINT,
  seed_nanos BIGINT,
  raises TEXT COLLATE "C",
  also TEXT COLLATE "C",
  CHECK (mode = 'soft' OR spent_nanos + reserved_nanos <= limit_nanos + overage_nanos),
  PRIMARY KEY (tenant, budget_id)
);

CREATE TABLE session_budget (
  tenant        TEXT COLLATE "C" NOT NULL,
  session_id    TEXT COLLATE "C" NOT NULL,
  budget_id     TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, session_id, budget_id),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id),
  FOREIGN KEY (tenant, budget_id) REFERENCES budget (tenant, budget_id)
);

CREATE TABLE price (
  tenant        TEXT COLLATE "C" NOT NULL,
  price_id      TEXT COLLATE "C" NOT NULL,
  basis         TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, price_id)
);

CREATE TABLE call (
  id                 BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant             TEXT COLLATE "C" NOT NULL,
  call_id            TEXT COLLATE "C" NOT NULL CHECK (length(call_id) BETWEEN 1 AND 128),
  session_id         TEXT COLLATE "C" NOT NULL,
  state              TEXT COLLATE "C" NOT NULL CHECK (state IN ('denied', 'pending', 'reconciled', 'voided', 'expired')),
  action             TEXT COLLATE "C" NOT NULL CHECK (action IN ('allow', 'reroute', 'halt')),
  reason             TEXT COLLATE "C" NOT NULL,
  tool_name          TEXT COLLATE "C" NOT NULL,
  model_requested    TEXT COLLATE "C" NOT NULL,
  model_target       TEXT COLLATE "C",
  model_used         TEXT COLLATE "C",
  prompt_tokens      BIGINT NOT NULL CHECK (prompt_tokens BETWEEN 0 AND 1000000000),
  completion_tokens  BIGINT NOT NULL CHECK (completion_tokens BETWEEN 0 AND 1000000000),
  raw_estimate_nanos BIGINT NOT NULL CHECK (raw_estimate_nanos BETWEEN 0 AND 4000000000000000000),
  estimate_nanos     BIGINT NOT NULL CHECK (estimate_nanos BETWEEN 0 AND 4000000000000000000),
  factor_micros      BIGINT NOT NULL CHECK (factor_micros > 0),
  booked_nanos       BIGINT NOT NULL CHECK (booked_nanos BETWEEN 0 AND 4000000000000000000),
  cost_basis         TEXT COLLATE "C" NOT NULL CHECK (cost_basis IN ('actual', 'transcript', 'estimate', 'none')),
  fresh_input        BIGINT CHECK (fresh_input BETWEEN 0 AND 1000000000),
  cache_read         BIGINT CHECK (cache_read BETWEEN 0 AND 1000000000),
  cache_write_5m     BIGINT CHECK (cache_write_5m BETWEEN 0 AND 1000000000),
  cache_write_1h     BIGINT CHECK (cache_write_1h BETWEEN 0 AND 1000000000),
  output             BIGINT CHECK (output BETWEEN 0 AND 1000000000),
  price_id           TEXT COLLATE "C" NOT NULL,
  actual_price_id    TEXT COLLATE "C",
  actor_type         TEXT COLLATE "C" NOT NULL CHECK (actor_type IN ('parent_agent', 'subagent')),
  actor_id           TEXT COLLATE "C",
  actor_name         TEXT COLLATE "C",
  parent_call_id     TEXT COLLATE "C",
  call_mode          TEXT COLLATE "C" CHECK (call_mode IN ('ask', 'plan', 'agent')),
  mode_capable       BIGINT CHECK (mode_capable IN (0, 1)),
  client_key         TEXT COLLATE "C",
  reply              TEXT COLLATE "C",
  void_reason        TEXT COLLATE "C",
  correlation        TEXT COLLATE "C",
  at_us              BIGINT NOT NULL,
  expires_us         BIGINT,
  resolved_us        BIGINT,
  holds              TEXT COLLATE "C" NOT NULL,
  cold_nanos BIGINT CHECK (cold_nanos > 0),
  level_nanos BIGINT CHECK (level_nanos > 0),
  expected_nanos BIGINT CHECK (expected_nanos > 0),
  observed_nanos BIGINT CHECK (observed_nanos >= 0),
  asked_by TEXT COLLATE "C",
  folder TEXT COLLATE "C",
  CHECK (cost_basis <> 'actual' OR (fresh_input IS NOT NULL AND output IS NOT NULL)),
  CHECK ((state = 'pending') = (expires_us IS NOT NULL AND resolved_us IS NULL)),
  CHECK (state <> 'reconciled' OR cost_basis IN ('actual', 'transcript')),
  CHECK (cost_basis <> 'transcript' OR booked_nanos = 0),
  CHECK (state NOT IN ('pending', 'denied', 'voided') OR booked_nanos = 0),
  UNIQUE (tenant, call_id),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id)
);

CREATE INDEX call_of_session ON call (tenant, session_id, at_us, state);

CREATE TABLE run_log_queue (
  tenant        TEXT COLLATE "C" NOT NULL,
  session_id    TEXT COLLATE "C" NOT NULL,
  path          TEXT COLLATE "C" NOT NULL,
  line          TEXT COLLATE "C" NOT NULL,
  queued_us     BIGINT NOT NULL,
  written_us    BIGINT,
  last_error    TEXT COLLATE "C",
  PRIMARY KEY (tenant, session_id)
);

CREATE INDEX run_log_waiting ON run_log_queue (tenant, queued_us) WHERE written_us IS NULL;

CREATE TABLE usage (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  response_key     TEXT COLLATE "C" NOT NULL,
  client_session   TEXT COLLATE "C" NOT NULL,
  parent_session   TEXT COLLATE "C",
  at_us            BIGINT NOT NULL,
  model            TEXT COLLATE "C" NOT NULL,
  provider         TEXT COLLATE "C",
  fresh_input      BIGINT NOT NULL CHECK (fresh_input BETWEEN 0 AND 1000000000000),
  cache_read       BIGINT NOT NULL CHECK (cache_read BETWEEN 0 AND 1000000000000),
  cache_write_5m   BIGINT NOT NULL CHECK (cache_write_5m BETWEEN 0 AND 1000000000000),
  cache_write_1h   BIGINT NOT NULL CHECK (cache_write_1h BETWEEN 0 AND 1000000000000),
  output           BIGINT NOT NULL CHECK (output BETWEEN 0 AND 1000000000000),
  reasoning        BIGINT NOT NULL CHECK (reasoning BETWEEN 0 AND 1000000000000),
  web_searches     BIGINT NOT NULL CHECK (web_searches BETWEEN 0 AND 1000000000000),
  estimated_output BIGINT CHECK (estimated_output BETWEEN 0 AND 1000000000000),
  quality          TEXT COLLATE "C" NOT NULL CHECK (quality IN ('final', 'partial', 'estimated', 'session_total')),
  rule             TEXT COLLATE "C" NOT NULL,
  tier             TEXT COLLATE "C",
  speed            TEXT COLLATE "C",
  geo              TEXT COLLATE "C",
  native_cost      TEXT COLLATE "C",
  agent_id         TEXT COLLATE "C",
  tool_use_ids     TEXT COLLATE "C",
  request_id       TEXT COLLATE "C",
  project          TEXT COLLATE "C",
  version          TEXT COLLATE "C",
  price_id         TEXT COLLATE "C" NOT NULL,
  cost_nanos       BIGINT NOT NULL CHECK (cost_nanos BETWEEN 0 AND 4000000000000000000),
  session_id       TEXT COLLATE "C",
  call_id          TEXT COLLATE "C",
  charges          TEXT COLLATE "C",
  counted_by TEXT COLLATE "C",
  odd TEXT COLLATE "C",
  corrected TEXT COLLATE "C",
  agent_type TEXT COLLATE "C",
  skill TEXT COLLATE "C",
  served TEXT COLLATE "C",
  branch TEXT COLLATE "C",
  repository TEXT COLLATE "C",
  UNIQUE (tenant, client, response_key),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id)
);

CREATE INDEX usage_time ON usage (tenant, at_us);

CREATE INDEX usage_session ON usage (tenant, session_id, at_us) WHERE session_id IS NOT NULL;

CREATE INDEX usage_client_session ON usage (tenant, client, client_session);

CREATE TABLE client_session (
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  client_session   TEXT COLLATE "C" NOT NULL,
  session_id       TEXT COLLATE "C" NOT NULL,
  found_by         TEXT COLLATE "C" NOT NULL,
  begun BIGINT,
  PRIMARY KEY (tenant, client, client_session, session_id),
  FOREIGN KEY (tenant, session_id) REFERENCES session (tenant, session_id)
);

CREATE INDEX client_session_of ON client_session (tenant, session_id);

CREATE TABLE transcript_file (
  tenant           TEXT COLLATE "C" NOT NULL,
  path             TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  position         TEXT COLLATE "C" NOT NULL,
  skipped          TEXT COLLATE "C" NOT NULL,
  read_us          BIGINT NOT NULL,
  whole_us BIGINT,
  form BIGINT,
  PRIMARY KEY (tenant, path)
);

CREATE INDEX usage_request ON usage (tenant, client, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE session_check (
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  client_session   TEXT COLLATE "C" NOT NULL,
  total_tokens     BIGINT NOT NULL CHECK (total_tokens >= 0),
  stated           TEXT COLLATE "C" NOT NULL,
  read_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, client, client_session)
);

CREATE TABLE attestation (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  attestation_id   TEXT COLLATE "C" NOT NULL CHECK (length(attestation_id) = 36),
  kind             TEXT COLLATE "C" NOT NULL CHECK (kind IN ('budget-exhausted', 'session-summary', 'checkpoint')),
  session_id       TEXT COLLATE "C",
  call_id          TEXT COLLATE "C",
  seq              BIGINT NOT NULL CHECK (seq > 0),
  event_hash       BYTEA NOT NULL CHECK (length(event_hash) = 32),
  payload          BYTEA,
  envelope         TEXT COLLATE "C",
  keyid            TEXT COLLATE "C",
  issued_us        BIGINT,
  CHECK ((envelope IS NULL) = (payload IS NULL) AND (envelope IS NULL) = (keyid IS NULL)
    AND (envelope IS NULL) = (issued_us IS NULL)),
  UNIQUE (tenant, attestation_id)
);

CREATE INDEX attestation_due ON attestation (tenant, id) WHERE envelope IS NULL;

CREATE INDEX attestation_of_session ON attestation (tenant, session_id, id) WHERE session_id IS NOT NULL;

CREATE INDEX attestation_of_call ON attestation (tenant, call_id) WHERE call_id IS NOT NULL;

CREATE TABLE signing_key (
  tenant           TEXT COLLATE "C" NOT NULL,
  keyid            TEXT COLLATE "C" NOT NULL,
  public           TEXT COLLATE "C" NOT NULL,
  seq              BIGINT NOT NULL CHECK (seq > 0),
  at_us            BIGINT NOT NULL,
  PRIMARY KEY (tenant, keyid)
);

CREATE INDEX call_booked ON call (tenant, at_us) WHERE cost_basis IN ('actual', 'estimate');

CREATE TABLE bill (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  bill_id          TEXT COLLATE "C" NOT NULL,
  format           TEXT COLLATE "C" NOT NULL,
  name             TEXT COLLATE "C" NOT NULL,
  digest           TEXT COLLATE "C" NOT NULL CHECK (length(digest) = 64),
  currency         TEXT COLLATE "C" NOT NULL,
  lines            BIGINT NOT NULL CHECK (lines >= 0),
  imported_us      BIGINT NOT NULL,
  from_us          BIGINT,
  until_us         BIGINT,
  total_nanos      BIGINT CHECK (total_nanos BETWEEN -4000000000000000000 AND 4000000000000000000),
  complete_us      BIGINT,
  deleted_us       BIGINT,
  UNIQUE (tenant, bill_id)
);

CREATE UNIQUE INDEX bill_counts ON bill (tenant, format, digest) WHERE complete_us IS NOT NULL AND deleted_us IS NULL;

CREATE TABLE bill_line (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  bill_id          TEXT COLLATE "C" NOT NULL,
  number           BIGINT NOT NULL CHECK (number > 0),
  part             BIGINT NOT NULL CHECK (part >= 0),
  identity         TEXT COLLATE "C" NOT NULL CHECK (length(identity) = 64),
  grain            TEXT COLLATE "C" NOT NULL CHECK (grain IN ('request', 'hour', 'day', 'month')),
  at_us            BIGINT NOT NULL,
  until_us         BIGINT,
  provider         TEXT COLLATE "C" NOT NULL,
  model            TEXT COLLATE "C",
  fresh_input      BIGINT CHECK (fresh_input BETWEEN 0 AND 1000000000000),
  cache_read       BIGINT CHECK (cache_read BETWEEN 0 AND 1000000000000),
  cache_write      BIGINT CHECK (cache_write BETWEEN 0 AND 1000000000000),
  output           BIGINT CHECK (output BETWEEN 0 AND 1000000000000),
  read_tokens      BIGINT CHECK (read_tokens BETWEEN 0 AND 1000000000000),
  requests         BIGINT CHECK (requests BETWEEN 0 AND 1000000000000),
  token_class      TEXT COLLATE "C" CHECK (token_class IN ('input', 'cache_read', 'cache_write', 'output', 'other')),
  cost_nanos       BIGINT CHECK (cost_nanos BETWEEN -4000000000000000 AND 4000000000000000),
  request_id       TEXT COLLATE "C",
  key_name         TEXT COLLATE "C",
  workspace        TEXT COLLATE "C",
  billing          TEXT COLLATE "C" NOT NULL CHECK (billing IN ('metered', 'included')),
  UNIQUE (tenant, bill_id, number, part),
  FOREIGN KEY (tenant, bill_id) REFERENCES bill (tenant, bill_id)
);

CREATE INDEX bill_line_time ON bill_line (tenant, at_us);

CREATE INDEX bill_line_identity ON bill_line (tenant, identity, bill_id);

CREATE TABLE calibration_sample (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  call_id          TEXT COLLATE "C" NOT NULL,
  session_id       TEXT COLLATE "C" NOT NULL,
  kind             TEXT COLLATE "C" NOT NULL CHECK (kind IN ('agent', 'hook')),
  client           TEXT COLLATE "C" NOT NULL,
  model            TEXT COLLATE "C" NOT NULL,
  agent            TEXT COLLATE "C" NOT NULL,
  at_us            BIGINT NOT NULL,
  estimate_nanos   BIGINT NOT NULL CHECK (estimate_nanos > 0),
  cold_nanos       BIGINT NOT NULL CHECK (cold_nanos > 0),
  level_nanos      BIGINT CHECK (level_nanos > 0),
  expected_nanos   BIGINT NOT NULL CHECK (expected_nanos > 0),
  actual_nanos     BIGINT NOT NULL CHECK (actual_nanos > 0),
  origin TEXT COLLATE "C" CHECK (origin IN ('reported', 'observed')),
  UNIQUE (tenant, call_id)
);

CREATE INDEX calibration_of_key ON calibration_sample (tenant, kind, client, model, id);

CREATE INDEX calibration_cold ON calibration_sample (tenant, kind, client, model, id) WHERE level_nanos IS NULL;

CREATE INDEX calibration_of_tenant ON calibration_sample (tenant, id);

CREATE INDEX calibration_of_session ON calibration_sample (tenant, session_id, id);

CREATE TABLE calibration_start (
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  model            TEXT COLLATE "C" NOT NULL,
  from_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, client, model)
);

CREATE TABLE calibration_factor (
  tenant           TEXT COLLATE "C" NOT NULL,
  model            TEXT COLLATE "C" NOT NULL,
  factor_micros    BIGINT NOT NULL CHECK (factor_micros BETWEEN 1000 AND 1000000000),
  applied_us       BIGINT NOT NULL,
  PRIMARY KEY (tenant, model)
);

CREATE TABLE unread_file (
  tenant           TEXT COLLATE "C" NOT NULL,
  path             TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  client_session   TEXT COLLATE "C",
  why              TEXT COLLATE "C" NOT NULL,
  records          BIGINT NOT NULL CHECK (records >= 0),
  unfinished       BIGINT NOT NULL CHECK (unfinished >= 0),
  read_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, path)
);

CREATE TABLE proof (
  one              BIGINT PRIMARY KEY CHECK (one = 1),
  written          BIGINT NOT NULL
);

CREATE TABLE limit_change (
  tenant         TEXT COLLATE "C" NOT NULL,
  budget_id      TEXT COLLATE "C" NOT NULL,
  at_us          BIGINT NOT NULL,
  unit           TEXT COLLATE "C" NOT NULL,
  before_nanos   BIGINT NOT NULL CHECK (before_nanos >= 0),
  limit_nanos    BIGINT NOT NULL CHECK (limit_nanos >= 0),
  door           TEXT COLLATE "C" NOT NULL,
  actor          TEXT COLLATE "C" NOT NULL,
  reason         TEXT COLLATE "C" NOT NULL,
  inside         TEXT COLLATE "C",
  beneath        TEXT COLLATE "C",
  PRIMARY KEY (tenant, budget_id, at_us)
);

CREATE INDEX budget_window ON budget (tenant, period, start_us) WHERE start_us IS NOT NULL;

CREATE INDEX budget_lasting ON budget (tenant, period) WHERE start_us = 0;

CREATE INDEX session_reached ON session (opened_from, tenant) WHERE opened_from IS NOT NULL;

CREATE TABLE call_anomaly (
  tenant         TEXT COLLATE "C" NOT NULL,
  session_id     TEXT COLLATE "C" NOT NULL,
  call_id        TEXT COLLATE "C" NOT NULL,
  kind           TEXT COLLATE "C" NOT NULL CHECK (kind IN ('far_below', 'late_below', 'local_model', 'voids_in_a_row')),
  told           TEXT COLLATE "C" NOT NULL,
  seen_us        BIGINT NOT NULL,
  PRIMARY KEY (tenant, session_id, call_id, kind)
);

CREATE TABLE price_list (
  tenant         TEXT COLLATE "C" NOT NULL,
  list_id        TEXT COLLATE "C" NOT NULL,
  stated         TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, list_id)
);

CREATE TABLE usage_anomaly (
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  response_key     TEXT COLLATE "C" NOT NULL,
  kind             TEXT COLLATE "C" NOT NULL CHECK (kind IN ('lower', 'other_model', 'other_time', 'impossible_time')),
  client_session   TEXT COLLATE "C" NOT NULL,
  told             TEXT COLLATE "C" NOT NULL,
  seen_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, client, response_key, kind)
);

CREATE TABLE worktree (
  tenant           TEXT COLLATE "C" NOT NULL,
  top              TEXT COLLATE "C" NOT NULL,
  repository       TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (tenant, top)
);

CREATE INDEX event_of_lock ON event (tenant, seq)
  WHERE position('\x226B696E64223A226C6F636B2E'::bytea IN substr(body, 1, 400)) > 0;

CREATE INDEX event_of_limit ON event (tenant, seq)
  WHERE position('\x226B696E64223A226275646765742E6C696D69745F6368616E67656422'::bytea IN substr(body, 1, 400)) > 0;

CREATE INDEX event_of_opening ON event (tenant, at_us)
  WHERE position('\x226B696E64223A2273657373696F6E2E7374617274656422'::bytea IN substr(body, 1, 400)) > 0;

CREATE TABLE plan_window (
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  limit_name       TEXT COLLATE "C" NOT NULL,
  minutes          BIGINT NOT NULL CHECK (minutes > 0),
  used             BIGINT NOT NULL CHECK (used >= 0),
  at_us            BIGINT NOT NULL,
  resets_us        BIGINT,
  source           TEXT COLLATE "C" NOT NULL,
  plan             TEXT COLLATE "C",
  read_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, client, limit_name, minutes)
);

CREATE TABLE plan_history (
  tenant           TEXT COLLATE "C" NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  limit_name       TEXT COLLATE "C" NOT NULL,
  minutes          BIGINT NOT NULL CHECK (minutes > 0),
  slot             BIGINT NOT NULL,
  used             BIGINT NOT NULL CHECK (used >= 0),
  at_us            BIGINT NOT NULL,
  resets_us        BIGINT,
  source           TEXT COLLATE "C" NOT NULL,
  plan             TEXT COLLATE "C",
  read_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, client, limit_name, minutes, slot)
);

CREATE TABLE rollup_key (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  booked           BIGINT NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  client_session   TEXT COLLATE "C" NOT NULL,
  session_id       TEXT COLLATE "C" NOT NULL,
  folder           TEXT COLLATE "C" NOT NULL,
  model            TEXT COLLATE "C" NOT NULL,
  price_id         TEXT COLLATE "C" NOT NULL
);

-- A folder's name may be longer than a row of an index can be, so what is unique is its digest.
CREATE UNIQUE INDEX rollup_key_of ON rollup_key (tenant, md5(booked::text || E'\x1f' || client || E'\x1f' || client_session
  || E'\x1f' || session_id || E'\x1f' || folder || E'\x1f' || model || E'\x1f' || price_id));
CREATE INDEX rollup_key_by ON rollup_key (tenant, session_id, client_session);

CREATE TABLE rollup (
  tenant           TEXT COLLATE "C" NOT NULL,
  quarter          BIGINT NOT NULL,
  key              BIGINT NOT NULL,
  responses        BIGINT NOT NULL,
  calls            BIGINT NOT NULL,
  partial          BIGINT NOT NULL,
  fresh_input      BIGINT NOT NULL,
  cache_read       BIGINT NOT NULL,
  cache_write_5m   BIGINT NOT NULL,
  cache_write_1h   BIGINT NOT NULL,
  output           BIGINT NOT NULL,
  reasoning        BIGINT NOT NULL,
  web_searches     BIGINT NOT NULL,
  cost_nanos       BIGINT NOT NULL,
  missing_output   BIGINT NOT NULL,
  exact_nanos      BIGINT NOT NULL,
  first_us         BIGINT NOT NULL,
  last_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, quarter, key)
);

CREATE TABLE rollup_state (
  one              BIGINT PRIMARY KEY CHECK (one = 1),
  usage_upto       BIGINT NOT NULL,
  call_upto        BIGINT NOT NULL,
  whole            BIGINT NOT NULL CHECK (whole IN (0, 1)),
  days_upto        BIGINT NOT NULL DEFAULT -1000000
);

CREATE TABLE alert (
  tenant           TEXT COLLATE "C" NOT NULL,
  budget_id        TEXT COLLATE "C" NOT NULL,
  route            TEXT COLLATE "C" NOT NULL,
  percent          BIGINT NOT NULL CHECK (percent > 0),
  at_us            BIGINT NOT NULL,
  claimed_us       BIGINT NOT NULL,
  tries            BIGINT NOT NULL CHECK (tries > 0),
  told_us          BIGINT,
  error            TEXT COLLATE "C",
  PRIMARY KEY (tenant, budget_id, route)
);

CREATE INDEX call_waiting ON call (tenant, expires_us, session_id) WHERE state = 'pending';

CREATE TABLE share_key (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  key              BIGINT NOT NULL,
  subagent         BIGINT NOT NULL,
  agent            TEXT COLLATE "C" NOT NULL,
  skill            TEXT COLLATE "C" NOT NULL,
  branch           TEXT COLLATE "C" NOT NULL,
  final            BIGINT NOT NULL,
  server           TEXT COLLATE "C" NOT NULL,
  tool             TEXT COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX share_key_of ON share_key (tenant, key, md5(subagent::text || E'\x1f' || agent || E'\x1f' || skill
  || E'\x1f' || branch || E'\x1f' || final::text || E'\x1f' || server || E'\x1f' || tool));

CREATE TABLE share (
  tenant           TEXT COLLATE "C" NOT NULL,
  quarter          BIGINT NOT NULL,
  key              BIGINT NOT NULL,
  responses        BIGINT NOT NULL,
  served           BIGINT NOT NULL,
  calls            BIGINT NOT NULL,
  fresh_input      BIGINT NOT NULL,
  cache_read       BIGINT NOT NULL,
  cache_write_5m   BIGINT NOT NULL,
  cache_write_1h   BIGINT NOT NULL,
  output           BIGINT NOT NULL,
  reasoning        BIGINT NOT NULL,
  web_searches     BIGINT NOT NULL,
  cost_nanos       BIGINT NOT NULL,
  missing_output   BIGINT NOT NULL,
  first_us         BIGINT NOT NULL,
  last_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, quarter, key)
);

CREATE TABLE day_key (
  id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant           TEXT COLLATE "C" NOT NULL,
  booked           BIGINT NOT NULL,
  client           TEXT COLLATE "C" NOT NULL,
  session_id       TEXT COLLATE "C" NOT NULL,
  rate             TEXT COLLATE "C" NOT NULL,
  folder           TEXT COLLATE "C" NOT NULL,
  model            TEXT COLLATE "C" NOT NULL,
  price_id         TEXT COLLATE "C" NOT NULL,
  subagent         BIGINT NOT NULL,
  agent            TEXT COLLATE "C" NOT NULL,
  skill            TEXT COLLATE "C" NOT NULL,
  branch           TEXT COLLATE "C" NOT NULL,
  server           TEXT COLLATE "C" NOT NULL,
  tool             TEXT COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX day_key_of ON day_key (tenant, md5(booked::text || E'\x1f' || client || E'\x1f' || session_id || E'\x1f' || rate
  || E'\x1f' || folder || E'\x1f' || model || E'\x1f' || price_id || E'\x1f' || subagent::text || E'\x1f' || agent
  || E'\x1f' || skill || E'\x1f' || branch || E'\x1f' || server || E'\x1f' || tool));

CREATE TABLE day_share (
  tenant           TEXT COLLATE "C" NOT NULL,
  day              BIGINT NOT NULL,
  key              BIGINT NOT NULL,
  responses        BIGINT NOT NULL,
  served           BIGINT NOT NULL,
  partial          BIGINT NOT NULL,
  partial_served   BIGINT NOT NULL,
  calls            BIGINT NOT NULL,
  fresh_input      BIGINT NOT NULL,
  cache_read       BIGINT NOT NULL,
  cache_write_5m   BIGINT NOT NULL,
  cache_write_1h   BIGINT NOT NULL,
  output           BIGINT NOT NULL,
  reasoning        BIGINT NOT NULL,
  web_searches     BIGINT NOT NULL,
  cost_nanos       BIGINT NOT NULL,
  missing_output   BIGINT NOT NULL,
  exact_nanos      BIGINT NOT NULL,
  first_us         BIGINT NOT NULL,
  last_us          BIGINT NOT NULL,
  PRIMARY KEY (tenant, day, key)
);

CREATE INDEX call_not_allowed ON call (tenant, at_us, action) WHERE action <> 'allow';

CREATE INDEX budget_passed ON budget (tenant, touched_us) WHERE spent_nanos > limit_nanos;

INSERT INTO rollup_state (one, usage_upto, call_upto, whole) VALUES (1, 0, 0, 1);

-- What never changes is refused by the database itself, whoever asks.
CREATE FUNCTION tally_refused() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER event_never_changes BEFORE UPDATE ON event
  FOR EACH ROW EXECUTE FUNCTION tally_refused('events never change');
CREATE TRIGGER event_never_goes BEFORE DELETE ON event
  FOR EACH ROW EXECUTE FUNCTION tally_refused('events are never deleted');
CREATE TRIGGER event_is_never_emptied BEFORE TRUNCATE ON event
  FOR EACH STATEMENT EXECUTE FUNCTION tally_refused('events are never deleted');
CREATE TRIGGER call_resolves_once BEFORE UPDATE ON call FOR EACH ROW
  WHEN (OLD.state IN ('denied', 'reconciled')
    AND NOT (OLD.state = 'reconciled' AND OLD.cost_basis = 'actual' AND NEW.cost_basis = 'transcript'))
  EXECUTE FUNCTION tally_refused('a resolved call never changes');
CREATE TRIGGER attestation_is_signed_once BEFORE UPDATE ON attestation FOR EACH ROW
  WHEN (OLD.envelope IS NOT NULL) EXECUTE FUNCTION tally_refused('a signed attestation never changes');
